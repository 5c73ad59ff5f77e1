//! Faults strike: who is hit, and what that does.

use std::time::Duration;

use nesos_agent_core as agent;
use nesos_types::time::Time;
use rand::Rng;

use super::faults::Fault;
use super::host::{self, HostEvent};
use super::network::End;
use super::pauses::Process;
use super::world::{What, World};

/// Everything sent is lost.
const BOTH: &[End] = &[End::Master, End::Peer];

impl World {
    pub(super) fn schedule_fault(&mut self) {
        let Some(every) = self.options.faults.every else {
            return;
        };
        let every = u64::try_from(every.as_micros()).expect("shorter than an age");
        let after = Duration::from_micros(self.rng.random_range(0..=2 * every));
        if self.now + after < self.began + self.options.faults.until {
            self.queue.push(self.now + after, What::Fault);
        }
    }

    pub(super) fn strike(&mut self) {
        self.schedule_fault();
        let kinds = self.options.faults.kinds();
        let fault = kinds[self.rng.random_range(0..kinds.len())];
        let a = self.rng.random_range(0..self.hosts.len());
        let f = self.rng.random_range(0..self.schedulers.len());
        let s = self.rng.random_range(0..self.seats.len());
        self.faults += 1;
        self.note(|| format!("fault {fault:?}, of agent {a} , scheduler {f} or master {s} "));
        match fault {
            Fault::SchedulerBreak
            | Fault::SchedulerSilence
            | Fault::SchedulerCrash
            | Fault::SchedulerForgets
            | Fault::SchedulerPause => self.strike_scheduler(fault, f),
            Fault::MasterCrash
            | Fault::MasterPause
            | Fault::MasterIsolated
            | Fault::StoreSlow
            | Fault::StoreFails => self.strike_master(fault, s),
            Fault::ClockJump => self.set_a_clock(a, s),
            _ => self.strike_agent(fault, a),
        }
    }

    fn seconds(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(least * 1000..most * 1000))
    }

    fn strike_scheduler(&mut self, fault: Fault, i: usize) {
        match fault {
            Fault::SchedulerCrash => self.crash_scheduler(i, true),
            Fault::SchedulerForgets => self.crash_scheduler(i, false),
            Fault::SchedulerPause => {
                let length = self.seconds(1, 100);
                self.pause(Process::Scheduler(i), length);
            }
            _ => {
                if let Some(link) = self.schedulers[i].link {
                    match fault {
                        Fault::SchedulerSilence => self.silence(link, BOTH),
                        _ => self.break_connection(link),
                    }
                }
            }
        }
    }

    fn strike_agent(&mut self, fault: Fault, i: usize) {
        match fault {
            Fault::AgentCrash => self.crash_agent(i, false),
            Fault::HostReboot => self.crash_agent(i, true),
            Fault::CellCrash => self.crash_cell(i),
            Fault::DiskSlow => {
                let length = self.seconds(5, 30);
                self.hosts[i].disk_slow_until = self.now + length;
            }
            Fault::AgentPause => {
                let length = self.seconds(1, 100);
                self.pause(Process::Agent(i), length);
            }
            _ => {
                let Some(link) = self.hosts[i].link else {
                    return;
                };
                match fault {
                    Fault::AgentSilence => self.silence(link, BOTH),
                    Fault::AgentDeaf => self.silence(link, &[End::Peer]),
                    Fault::AgentMute => self.silence(link, &[End::Master]),
                    _ => self.break_connection(link),
                }
            }
        }
    }

    fn strike_master(&mut self, fault: Fault, s: usize) {
        match fault {
            Fault::MasterCrash => self.crash_seat(s),
            Fault::MasterPause => {
                let length = self.seconds(1, 60);
                self.pause(Process::Seat(s), length);
            }
            Fault::MasterIsolated => self.isolate(s),
            Fault::StoreSlow => {
                let length = self.seconds(2, 30);
                self.store.slow_until = self.now + length;
            }
            _ => {
                let length = self.seconds(1, 10);
                self.store.fails_until = self.now + length;
            }
        }
    }

    /// Messages are lost, and the connection breaks some time later.
    fn silence(&mut self, link: nesos_master_core::ConnectionId, ends: &[End]) {
        self.network.silence(link, ends);
        let heals = self.seconds(20, 200);
        self.queue.push(self.now + heals, What::Breaks(link));
    }

    /// Neither peers nor the store hear of a master, and it hears of none.
    fn isolate(&mut self, s: usize) {
        let length = self.seconds(5, 60);
        self.seats[s].isolated_until = self.now + length;
        for link in self.network.of_seat(s) {
            self.network.silence(link, BOTH);
            self.queue.push(self.now + length, What::Breaks(link));
        }
    }

    /// Somebody sets the clock of a machine; its processes notice at their next start.
    fn set_a_clock(&mut self, i: usize, s: usize) {
        if self.rng.random_bool(0.5) {
            self.seats[s].oscillator.jump(&mut self.rng);
        } else {
            self.hosts[i].oscillator.jump(&mut self.rng);
        }
    }

    fn crash_agent(&mut self, i: usize, reboots: bool) {
        if self.hosts[i].agent.is_none() || self.is_paused(Process::Agent(i)) {
            return;
        }
        self.leave_master(i);
        let group_is_there = self.rng.random_bool(0.5);
        self.hosts[i].crash(group_is_there);
        if reboots {
            let cells: Vec<_> = self.hosts[i].cells.keys().copied().collect();
            cells.into_iter().for_each(|cell| self.remove_cell(i, cell));
            self.hosts[i].config.boot_id = format!("boot-{}", self.faults);
        }
        self.hosts[i].wake_at = Time::MAX;
        self.on_host_after(i, host::PROCESS_START, HostEvent::Start);
    }

    fn crash_cell(&mut self, i: usize) {
        let Some(cell) = self.hosts[i].cells.keys().next().copied() else {
            return;
        };
        self.remove_cell(i, cell);
        let message = "killed by signal 9".to_owned();
        let failed = agent::Event::CellFailed { cell, message };
        self.tell_agent_after(i, host::CELL_HOP, failed);
    }
}
