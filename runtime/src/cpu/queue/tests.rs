//! The queue under a virtual clock: `n` threads, jobs that spin, five seconds.

use std::sync::Weak;

use super::*;
use crate::cpu::{Meter, Share};

const QUANTUM: Duration = Duration::from_micros(500);

fn spinning_job() -> Arc<Job> {
    let share = Share {
        cpu_milli: 0,
        burst: false,
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

/// Lets jobs `(framework, cpu_milli, burst)` spin on `threads` threads; returns the CPUs that each got.
fn cpus_got(threads: usize, jobs: &[(u128, u64, bool)]) -> Vec<f64> {
    let start = Instant::now();
    let mut queue = Queue::default();
    let keys: Vec<Key> = jobs
        .iter()
        .map(|&(framework, cpu_milli, burst)| {
            let framework = FrameworkId(framework);
            let job = spinning_job();
            let key = queue.admit(
                Admission {
                    job,
                    framework,
                    cpu_milli,
                    burst,
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
        (1, 100, false),
        (1, 250, false),
        (2, 500, false),
        (2, 1000, false),
    ];
    assert_about(&cpus_got(2, &jobs), &[0.1, 0.25, 0.5, 1.0]);
}

#[test]
fn too_many_jobs_of_one_framework_share_in_the_ratio_that_they_accepted() {
    let jobs = [(1, 1000, false), (1, 1000, false), (1, 500, false)];
    assert_about(&cpus_got(1, &jobs), &[0.4, 0.4, 0.2]);
}

#[test]
fn many_jobs_of_one_framework_do_not_outvote_one_of_another() {
    let mut jobs = vec![(1, 1000, false); 20];
    jobs.push((2, 500, false));
    let got = cpus_got(1, &jobs);
    assert_about(&got[20..], &[0.5]);
}

#[test]
fn bursting_takes_only_what_is_left() {
    let jobs = [(1, 100, true), (2, 700, false)];
    assert_about(&cpus_got(1, &jobs), &[0.3, 0.7]);
}

#[test]
fn a_key_that_passed_on_is_not_hurried() {
    let now = Instant::now();
    let mut queue = Queue::default();
    let [gone, other] = [(); 2].map(|()| spinning_job());
    let admit = |queue: &mut Queue, job: &Arc<Job>| {
        let (job, framework) = (job.clone(), FrameworkId(1));
        queue.admit(
            Admission {
                job,
                framework,
                cpu_milli: 1,
                burst: false,
            },
            now,
        )
    };
    let key = admit(&mut queue, &gone);
    queue.remove(key);
    assert_eq!(admit(&mut queue, &other), key);
    queue.entries[key].urgent = false;
    queue.hurry(key, &gone, now);
    assert!(!queue.entries[key].urgent);
}
