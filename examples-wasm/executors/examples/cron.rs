//! Runs tasks again and again, like cron: a task's data is its period in milliseconds and how many times, as
//! in `100 3`; each time is an update, and after the last one the task is finished.

use std::collections::BTreeMap;
use std::time::Duration;

use nesos_guest::{Executor, Host, Registered, State, TaskInfo, Timer};

pub(crate) struct Entry {
    task: String,
    period: Duration,
    done: u32,
    times: u32,
}

#[derive(Default)]
pub(crate) struct Cron {
    entries: BTreeMap<Timer, Entry>,
}

#[nesos_guest::executor]
impl Executor for Cron {
    fn registered(_: &Host, _: Registered) -> Self {
        Self::default()
    }

    fn launch(&mut self, host: &Host, task: TaskInfo) {
        let text = String::from_utf8_lossy(&task.data).into_owned();
        let parts = text.split_once(' ');
        let numbers = parts.and_then(|(ms, times)| Some((ms.parse().ok()?, times.parse().ok()?)));
        match numbers {
            Some((ms, times)) => {
                let period = Duration::from_millis(ms);
                self.wait(
                    host,
                    Entry {
                        task: task.id,
                        period,
                        done: 0,
                        times,
                    },
                );
            }
            None => host.report(&task.id, State::Error, "data is not `period times`", &[]),
        }
    }

    fn kill(&mut self, host: &Host, task: &str, _: Duration) {
        self.entries.retain(|timer, entry| {
            let goes = entry.task == task;
            let _ = goes && host.cancel_timer(*timer);
            !goes
        });
        host.report(task, State::Killed, "", &[]);
    }

    fn timer(&mut self, host: &Host, timer: Timer) {
        let Some(mut entry) = self.entries.remove(&timer) else {
            return;
        };
        entry.done += 1;
        host.report(
            &entry.task,
            State::Running,
            "",
            entry.done.to_string().as_bytes(),
        );
        if entry.done < entry.times {
            self.wait(host, entry);
        } else {
            host.report(&entry.task, State::Finished, "", &[]);
        }
    }
}

impl Cron {
    fn wait(&mut self, host: &Host, entry: Entry) {
        match host.set_timer(entry.period) {
            Ok(timer) => drop(self.entries.insert(timer, entry)),
            Err(error) => host.report(&entry.task, State::Failed, &error.to_string(), &[]),
        }
    }
}
