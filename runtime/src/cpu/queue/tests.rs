//! The queue under a virtual clock: `n` threads, jobs that spin, five seconds.

use std::sync::Weak;

use super::*;
use crate::cpu::{Meter, Share};

const QUANTUM: Duration = Duration::from_micros(500);

fn spinning_job() -> Arc<Job> {
    let share = Share {
        cpu_milli: 0,
        burst: false,
        revocable: false,
        fuel_per_second: None,
    };
    let meter = Arc::new(Meter::default());
    Arc::new(Job::new(
        share,
        meter,
        Weak::new(),
        Box::pin(std::future::pending()),
    ))
}

/// What a job may use beside its credit, or may not.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Plain,
    Burst,
    Revocable,
}
use Kind::{Burst, Plain, Revocable};

/// Lets jobs `(framework, cpu_milli, kind)` spin on `threads` threads; returns the CPUs that each got.
fn cpus_got(threads: usize, jobs: &[(u128, u64, Kind)]) -> Vec<f64> {
    let start = Instant::now();
    let mut queue = Queue::default();
    let keys: Vec<Key> = jobs
        .iter()
        .map(|&(framework, cpu_milli, kind)| {
            let framework = FrameworkId(framework);
            let job = spinning_job();
            let key = queue.admit(
                Admission {
                    job,
                    framework,
                    cpu_milli,
                    burst: kind == Burst,
                    revocable: kind == Revocable,
                },
                start,
            );
            queue.wake(key, start);
            key
        })
        .collect();
    let mut got = vec![0.0; jobs.len()];
    let mut running = vec![None; threads];
    let mut now = start;
    while now < start + Duration::from_secs(5) {
        for slot in &mut running {
            if let Some(key) = slot.take() {
                let cpu_ns = u64::try_from(QUANTUM.as_nanos()).unwrap();
                queue.charge(key, cpu_ns, cpu_ns, now);
                queue.requeue(key, now);
            }
        }
        for slot in &mut running {
            *slot = queue.pop(now).map(|(key, _)| key);
            if let Some(key) = *slot {
                let job = keys.iter().position(|&other| other == key).unwrap();
                got[job] += QUANTUM.as_secs_f64() / 5.0;
            }
        }
        now += QUANTUM;
    }
    got
}

#[track_caller]
fn assert_about(got: &[f64], due: &[f64]) {
    for (got_one, due_one) in got.iter().zip(due) {
        let off = (got_one - due_one).abs();
        assert!(
            off <= 0.015 * due_one + 0.002,
            "got {got:.3?}, due {due:.3?}"
        );
    }
}

#[test]
fn each_gets_what_it_accepted_and_no_more() {
    let jobs = [
        (1, 100, Plain),
        (1, 250, Plain),
        (2, 500, Plain),
        (2, 1000, Plain),
    ];
    assert_about(&cpus_got(2, &jobs), &[0.1, 0.25, 0.5, 1.0]);
}

#[test]
fn too_many_jobs_of_one_framework_share_in_the_ratio_that_they_accepted() {
    let jobs = [(1, 1000, Plain), (1, 1000, Plain), (1, 500, Plain)];
    assert_about(&cpus_got(1, &jobs), &[0.4, 0.4, 0.2]);
}

#[test]
fn many_jobs_of_one_framework_do_not_outvote_one_of_another() {
    let mut jobs = vec![(1, 1000, Plain); 20];
    jobs.push((2, 500, Plain));
    let got = cpus_got(1, &jobs);
    assert_about(&got[20..], &[0.5]);
}

#[test]
fn bursting_takes_only_what_is_left() {
    let jobs = [(1, 100, Burst), (2, 700, Plain)];
    assert_about(&cpus_got(1, &jobs), &[0.3, 0.7]);
}

#[test]
fn what_can_be_taken_back_comes_after_all_that_was_accepted() {
    let jobs = [(1, 1000, Revocable), (1, 400, Plain), (2, 300, Plain)];
    assert_about(&cpus_got(1, &jobs), &[0.3, 0.4, 0.3]);
}

#[test]
fn what_can_be_taken_back_never_bursts() {
    assert_about(&cpus_got(1, &[(1, 200, Revocable)]), &[0.2]);
}

fn admit(queue: &mut Queue, job: &Arc<Job>, now: Instant) -> Key {
    let (job, framework) = (job.clone(), FrameworkId(1));
    queue.admit(
        Admission {
            job,
            framework,
            cpu_milli: 1,
            burst: false,
            revocable: false,
        },
        now,
    )
}

#[test]
fn a_parked_job_that_may_use_more_is_looked_at_sooner() {
    let now = Instant::now();
    let mut queue = Queue::default();
    let job = spinning_job();
    let key = admit(&mut queue, &job, now);
    queue.wake(key, now);
    queue.pop(now);
    queue.charge(key, 50_000_000, 50_000_000, now);
    queue.requeue(key, now);
    assert!(queue.next_alarm() > Some(now + Duration::from_secs(40)));
    queue.set_rate(key, &job, 1000, now);
    assert!(queue.next_alarm() < Some(now + Duration::from_millis(60)));
}

#[test]
fn a_key_that_passed_on_is_neither_hurried_nor_slowed_down() {
    let now = Instant::now();
    let mut queue = Queue::default();
    let [gone, other] = [(); 2].map(|()| spinning_job());
    let key = admit(&mut queue, &gone, now);
    queue.remove(key);
    assert_eq!(admit(&mut queue, &other, now), key);
    queue.set_rate(key, &gone, 500, now);
    assert_eq!(queue.entries[key].weight, 1);
    queue.entries[key].urgent = false;
    queue.hurry(key, &gone, now);
    assert!(!queue.entries[key].urgent);
}
