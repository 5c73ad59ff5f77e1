//! CPU that owners do not use: told, lent, taken back.

use std::collections::BTreeMap;
use std::time::Duration;

use nesos_agent_core::{AgentConfig, CellId, Event};
use nesos_types::resources::Resources;
use nesos_types::task::{TaskInfo, TaskState};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::rig::{MIB, Rig, config, lending, task};

const SECOND: Duration = Duration::from_secs(1);

fn owner(id: &str, cpu_milli: u64) -> TaskInfo {
    let mut owner = task(id);
    owner.resources = Resources::new(cpu_milli, 128 * MIB);
    owner
}

fn borrower(id: &str, cpu_milli: u64) -> TaskInfo {
    let mut borrower = owner(id, cpu_milli);
    borrower.resources = borrower.resources.with_revocable_cpu();
    borrower
}

/// A rig whose cell 0 measures, and what its owners use.
struct Bench {
    rig: Rig,
    /// CPU time so far.
    used_ns: BTreeMap<String, u64>,
    /// Thousandths of a core.
    rates: BTreeMap<String, u64>,
}

impl Bench {
    fn new(config: AgentConfig) -> Self {
        Self {
            rig: Rig::warm(config),
            used_ns: BTreeMap::new(),
            rates: BTreeMap::new(),
        }
    }

    /// An owner that runs and uses nothing.
    fn owner(mut self, id: &str, cpu_milli: u64) -> Self {
        self.start(owner(id, cpu_milli));
        self.used_ns.insert(id.to_owned(), 0);
        self
    }

    fn start(&mut self, info: TaskInfo) {
        let id = info.id.to_string();
        self.rig.launch([info]);
        self.rig.status(0, &id, TaskState::Running);
        self.rig.ack(&id);
    }

    fn uses(&mut self, id: &str, cpu_milli: u64) {
        self.rates.insert(id.to_owned(), cpu_milli);
    }

    /// A second passes, and the cell says what was used in it; what the agent does about it.
    fn second(&mut self) -> String {
        self.rig.now = self.rig.now + SECOND;
        for (id, used_ns) in &mut self.used_ns {
            *used_ns += self.rates.get(id).unwrap_or(&0) * 1_000_000;
        }
        let used: Vec<_> = self
            .used_ns
            .iter()
            .map(|(id, ns)| (id.as_str(), *ns))
            .collect();
        assert_eq!(
            self.rig.usage(0, &used),
            "",
            "a sample alone decides nothing"
        );
        self.rig.event(Event::Tick)
    }

    /// The same for so many seconds.
    fn seconds(&mut self, count: u32) -> String {
        (0..count).map(|_| self.second()).collect()
    }

    /// With an owner of 2 CPUs whose CPU is lent.
    fn lent(owner: &str) -> Self {
        let mut bench = Self::new(lending()).owner(owner, 2000);
        assert_eq!(bench.seconds(6), "master <- slack 1800\n");
        // Nobody is to borrow what has no owner.
        bench.rig.launch([self::owner("rest", 2000)]);
        bench
    }
}

#[test]
fn an_agent_that_lends_nothing_measures_nothing() {
    let mut rig = Rig::new(config());
    rig.register();
    rig.launch([task("a")]);
    let up = rig.cell_up(0);
    assert!(!up.contains("measure"), "{up}");
    rig.ready(1);
    rig.status(0, "a", TaskState::Running);
    rig.ack("a");
    rig.ack("a");
    assert_eq!(rig.usage(0, &[("a", 5)]), "");
    assert_eq!(rig.pass(SECOND * 10), "");
    assert_eq!(
        rig.launch([borrower("b", 500)]),
        "master <- b dropped/ResourcesUnknown, latest dropped \"this agent lends no CPU that others have accepted\"\n"
    );
}

#[test]
fn a_cell_that_comes_is_asked_to_measure() {
    let mut rig = Rig::new(lending());
    rig.register();
    rig.launch([task("a")]);
    let up = rig.cell_up(0);
    assert!(up.starts_with("cell-0 <- measure every 1s\n"), "{up}");
}

#[test]
fn slack_is_what_was_unused_in_each_of_the_last_samples_less_the_margin() {
    let mut bench = Bench::new(lending()).owner("o", 2000);
    bench.uses("o", 300);
    assert_eq!(bench.seconds(5), "", "five samples span four seconds");
    assert_eq!(bench.second(), "master <- slack 1500\n");
}

#[test]
fn what_nobody_has_accepted_is_not_slack() {
    let mut bench = Bench::new(lending());
    assert_eq!(bench.seconds(10), "");
}

#[test]
fn a_short_pause_is_not_slack() {
    let mut bench = Bench::new(lending()).owner("o", 1000);
    let mut told = String::new();
    for _ in 0..4 {
        bench.uses("o", 950);
        told += &bench.second();
        bench.uses("o", 0);
        told += &bench.seconds(4);
    }
    assert_eq!(told, "");
    assert_eq!(bench.second(), "master <- slack 900\n");
}

#[test]
fn the_first_busy_sample_takes_the_slack_back() {
    let mut bench = Bench::lent("o");
    bench.uses("o", 1900);
    assert_eq!(bench.second(), "master <- slack 0\n");
}

#[test]
fn only_a_change_worth_an_offer_is_told() {
    let mut bench = Bench::lent("o");
    for used in [50, 90, 20, 90] {
        bench.uses("o", used);
        assert_eq!(bench.second(), "", "{used}");
    }
    bench.uses("o", 100);
    assert_eq!(bench.second(), "master <- slack 1700\n");
}

#[test]
fn slack_is_told_again_after_each_registration() {
    let mut bench = Bench::lent("o");
    bench.rig.disconnected();
    assert_eq!(bench.seconds(2), "connect master #2\n");
    bench.rig.connected();
    assert_eq!(bench.second(), "");
    let registered = bench.rig.registered();
    assert!(
        registered.ends_with("master <- slack 1800\n"),
        "{registered}"
    );
}

#[test]
fn an_owner_of_whom_nothing_is_heard_lends_nothing() {
    let mut bench = Bench::lent("o");
    bench.used_ns.clear();
    assert_eq!(bench.seconds(3), "");
    assert_eq!(bench.second(), "master <- slack 0\n");
}

#[test]
fn an_owner_that_ends_lends_nothing_any_more() {
    let mut bench = Bench::lent("o");
    bench.rig.status(0, "o", TaskState::Finished);
    assert_eq!(bench.second(), "master <- slack 0\n");
}

#[test]
fn a_borrower_lends_nothing() {
    let mut bench = Bench::lent("o");
    bench.start(borrower("b", 1000));
    bench.used_ns.insert("b".to_owned(), 0);
    assert_eq!(bench.seconds(8), "");
}

#[test]
fn borrowers_are_slowed_down_in_proportion_and_let_go_again() {
    let mut bench = Bench::lent("o");
    bench.start(borrower("big", 1200));
    bench.start(borrower("small", 300));
    assert_eq!(bench.second(), "");
    bench.uses("o", 800);
    assert_eq!(
        bench.second(),
        "master <- slack 1000\n\
         cell-0 <- throttle big to 800\n\
         cell-0 <- throttle small to 200\n"
    );
    bench.uses("o", 0);
    assert_eq!(bench.seconds(4), "");
    assert_eq!(
        bench.second(),
        "master <- slack 1800\n\
         cell-0 <- throttle big to 1200\n\
         cell-0 <- throttle small to 300\n"
    );
}

#[test]
fn a_borrower_is_never_stopped_and_keeps_what_is_its_own() {
    let mut bench = Bench::lent("o");
    let mut mixed = borrower("mixed", 500);
    mixed.resources.mem_bytes = 64 * MIB;
    bench.start(borrower("all", 500));
    bench.rig.status(0, "rest", TaskState::Finished);
    mixed.resources.cpu_milli = 2000;
    bench.start(mixed);
    bench.uses("o", 2000);
    let taken = bench.second();
    assert_eq!(
        taken,
        "master <- slack 0\n\
         cell-0 <- throttle all to 10\n\
         cell-0 <- throttle mixed to 2010\n"
    );
}

#[test]
fn nobody_is_pushed_aside_for_cpu_that_nobody_has_accepted() {
    let mut bench = Bench::new(lending()).owner("o", 2000);
    bench.seconds(6);
    bench.start(borrower("b", 1500));
    bench.uses("o", 2000);
    assert_eq!(bench.second(), "master <- slack 0\n");
    assert_eq!(bench.seconds(20), "", "2 CPUs have no owner");
    bench.start(owner("p", 2000));
    assert_eq!(bench.second(), "cell-0 <- throttle b to 10\n");
}

#[test]
fn the_newest_borrowers_end_when_it_stays_short_until_the_rest_fits() {
    let mut bench = Bench::lent("o");
    let mut patient = borrower("last", 500);
    patient.kill_grace = Some(SECOND * 30);
    for info in [borrower("first", 500), borrower("second", 600), patient] {
        bench.start(info);
    }
    bench.uses("o", 1000);
    assert_eq!(
        bench.second(),
        "master <- slack 800\n\
         cell-0 <- throttle first to 250\n\
         cell-0 <- throttle second to 300\n\
         cell-0 <- throttle last to 250\n"
    );
    assert_eq!(bench.seconds(9), "");
    assert_eq!(
        bench.second(),
        "cell-0 <- kill last within 30s\n\
         master <- last killing/Preempted, latest killing \"the guest has 30s to end by itself\"\n\
         cell-0 <- kill second within 3s\n\
         master <- second killing/Preempted, latest killing \"the guest has 3s to end by itself\"\n"
    );
    for id in ["last", "second"] {
        bench.rig.ack(id);
        assert_eq!(
            bench.rig.status(0, id, TaskState::Killed),
            format!(
                "master <- {id} killed/Preempted, latest killed \"the CPU that it borrowed is needed by those who accepted it\"\n"
            )
        );
        bench.rig.ack(id);
    }
    assert_eq!(bench.second(), "cell-0 <- throttle first to 500\n");
    assert_eq!(bench.seconds(20), "");
    assert_eq!(bench.rig.agent.stats().tasks_preempted, 2);
}

#[test]
fn a_shortage_that_passes_ends_nobody() {
    let mut bench = Bench::lent("o");
    bench.start(borrower("b", 1800));
    for _ in 0..3 {
        bench.uses("o", 1000);
        bench.second();
        bench.uses("o", 0);
        bench.seconds(9);
    }
    assert_eq!(bench.rig.state("b"), Some(TaskState::Running));
}

#[test]
fn a_borrower_that_has_not_started_is_told_why_it_never_will() {
    let mut bench = Bench::lent("o");
    let mut waits = borrower("waits", 500);
    waits.bundle = crate::rig::digest(2);
    bench.rig.launch([waits]);
    bench.rig.ack("waits");
    bench.uses("o", 2000);
    bench.seconds(10);
    assert_eq!(
        bench.second(),
        "master <- waits killed/Preempted, latest killed \"the CPU that it borrowed is needed by those who accepted it\"\n"
    );
}

#[test]
fn a_cell_that_comes_back_hears_again_what_it_is_to_do() {
    let mut bench = Bench::lent("o");
    bench.start(borrower("b", 1800));
    bench.uses("o", 1000);
    bench.second();
    bench.rig.event(Event::CellDisconnected {
        cell: CellId(0),
        message: "cut".into(),
    });
    let held = [owner("o", 2000), owner("rest", 2000), borrower("b", 1800)];
    let held = held.map(|info| (info, TaskState::Running));
    assert_eq!(
        bench.rig.hello_with(0, held),
        "cell-0 <- measure every 1s\n\
         cell-0 <- throttle b to 800\n"
    );
}

#[test]
fn an_agent_that_comes_back_learns_before_it_takes_anything() {
    let mut bench = Bench::lent("o");
    bench.start(borrower("b", 1800));
    bench.rig.commit();
    let Bench {
        rig,
        used_ns,
        rates,
    } = bench;
    let rig = Rig::recover(rig.config, rig.now, rig.disk);
    let mut bench = Bench {
        rig,
        used_ns,
        rates,
    };
    bench.rig.tick();
    let held = [owner("o", 2000), owner("rest", 2000), borrower("b", 1800)];
    let held = held.map(|info| (info, TaskState::Running));
    assert_eq!(
        bench.rig.hello_with(0, held),
        "cell-0 <- measure every 1s\n\
         cell-0 <- throttle b to 1800\n\
         connect master #1\n"
    );
    bench.rig.connected();
    bench.rig.registered();
    let told = bench.seconds(30);
    assert!(told.contains("master <- slack 1800\n"), "{told}");
    assert!(
        !told.contains("throttle") && !told.contains("kill"),
        "{told}"
    );
}

#[test]
fn an_agent_that_no_longer_lends_ends_those_who_borrow() {
    let mut bench = Bench::lent("o");
    bench.start(borrower("b", 1000));
    bench.rig.commit();
    let mut rig = Rig::recover(config(), bench.rig.now, bench.rig.disk);
    rig.tick();
    let held = [owner("o", 2000), owner("rest", 2000), borrower("b", 1000)];
    let held = held.map(|info| (info, TaskState::Running));
    let told = rig.hello_with(0, held);
    assert!(told.starts_with("cell-0 <- kill b within 3s\n"), "{told}");
}

#[test]
fn an_agent_without_cells_does_not_wake_for_nothing() {
    let mut bench = Bench::new(lending());
    bench.seconds(3);
    bench.rig.event(Event::CellDisconnected {
        cell: CellId(0),
        message: "gone".into(),
    });
    bench.rig.pass(SECOND);
    let next = bench.rig.agent.next_deadline().expect("a deadline");
    assert!(next > bench.rig.now + SECOND * 5);
}

/// The tasks that are slowed down or killed in what an agent does.
fn pushed_aside(told: &str) -> impl Iterator<Item = &str> {
    told.lines().filter_map(|line| {
        let (_, command) = line.split_once(" <- ")?;
        let task = command
            .strip_prefix("throttle ")
            .or_else(|| command.strip_prefix("kill "))?;
        task.split(' ').next()
    })
}

#[test]
fn whatever_happens_only_borrowers_are_pushed_aside() {
    let mut pushed = 0;
    let mut preempted = 0;
    for seed in 0..40 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bench = Bench::new(lending());
        let mut live: Vec<String> = Vec::new();
        for step in 0..150 {
            match rng.random_range(0..8) {
                0 => {
                    let id = format!("owner-{step}");
                    bench.start(owner(&id, rng.random_range(1..=150) * 10));
                    if bench.rig.state(&id) == Some(TaskState::Running) {
                        bench.used_ns.insert(id.clone(), 0);
                        live.push(id);
                    }
                }
                1 => {
                    let id = format!("borrower-{step}");
                    bench.start(borrower(&id, rng.random_range(1..=1000)));
                    live.push(id);
                }
                2 if !live.is_empty() => {
                    let id = live.swap_remove(rng.random_range(0..live.len()));
                    bench.used_ns.remove(&id);
                    bench.rig.status(0, &id, TaskState::Finished);
                    bench.rig.ack(&id);
                }
                3 => {
                    bench.rig.disconnected();
                    bench.rig.pass(SECOND);
                    bench.rig.connected();
                    bench.rig.registered();
                }
                _ => {
                    for id in bench.used_ns.keys().cloned().collect::<Vec<_>>() {
                        bench.uses(&id, rng.random_range(0..1500));
                    }
                    let told = bench.second();
                    for id in pushed_aside(&told) {
                        assert!(
                            id.starts_with("borrower"),
                            "seed {seed}, step {step}: {told}"
                        );
                        pushed += 1;
                    }
                }
            }
        }
        preempted += bench.rig.agent.stats().tasks_preempted;
    }
    assert!(pushed > 1000 && preempted > 10, "{pushed}, {preempted}");
}
