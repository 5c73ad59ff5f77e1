//! Simulations of a whole cluster: real cores, virtual time, faults from a seed.

use std::time::Duration;

use nesos_tests::sim::{Faults, Options, fresh_seed, run, seed_or};

#[test]
fn thousands_of_agents_without_faults() {
    let options = Options::new(seed_or(1), 5000, 20, 500).checked_every(20_000);
    let outcome = run(&options);
    assert_eq!(outcome.jobs_done, 10_000);
    assert_eq!(outcome.attempts, 10_000, "each job took one task");
}

#[test]
fn thousands_of_agents_through_all_faults() {
    let every = Duration::from_secs(1);
    let faults = Faults::all(every, Duration::from_secs(300));
    let options = Options::new(seed_or(2), 5000, 20, 500).with_faults(faults);
    let outcome = run(&options.checked_every(20_000));
    assert_eq!(outcome.jobs_done, 10_000);
    assert!(outcome.faults > 100);
}

#[test]
fn small_clusters_through_dense_faults() {
    let first = seed_or(100);
    let seeds = match std::env::var_os("NESOS_SIM_SEED") {
        Some(_) => first..first + 1,
        None => first..first + 40,
    };
    for seed in seeds {
        let every = Duration::from_millis(700);
        let faults = Faults::all(every, Duration::from_secs(120));
        let options = Options::new(seed, 6, 4, 60).with_faults(faults);
        let outcome = run(&options.checked_every(7));
        assert_eq!(outcome.jobs_done, 240);
    }
}

#[test]
fn three_masters_through_dense_faults() {
    let first = seed_or(1700);
    let seeds = match std::env::var_os("NESOS_SIM_SEED") {
        Some(_) => first..first + 1,
        None => first..first + 40,
    };
    let mut recoveries = 0;
    for seed in seeds {
        let faults = Faults::all(Duration::from_millis(700), Duration::from_secs(120));
        let options = Options::new(seed, 6, 4, 60).with_faults(faults);
        let outcome = run(&options.led_by(3).checked_every(7));
        assert_eq!(outcome.jobs_done, 240);
        recoveries += outcome.recoveries;
    }
    assert!(recoveries > 40, "{recoveries}");
}

#[test]
fn a_thousand_agents_and_three_masters_through_all_faults() {
    let faults = Faults::all(Duration::from_millis(300), Duration::from_secs(200));
    let options = Options::new(seed_or(4), 1000, 10, 300).with_faults(faults);
    let outcome = run(&options.led_by(3).checked_every(5000));
    assert_eq!(outcome.jobs_done, 3000);
}

#[test]
fn limits_hold_through_dense_faults() {
    let first = seed_or(2100);
    let seeds = match std::env::var_os("NESOS_SIM_SEED") {
        Some(_) => first..first + 1,
        None => first..first + 20,
    };
    for seed in seeds {
        let faults = Faults::all(Duration::from_millis(700), Duration::from_secs(120));
        let options = Options::new(seed, 6, 4, 60).with_faults(faults);
        let outcome = run(&options.reserving(100).limited().checked_every(7));
        assert_eq!(outcome.jobs_done, 240);
    }
}

/// Each run of the tests tries something that no run has tried before.
#[test]
fn a_fresh_seed() {
    let seed = fresh_seed();
    for masters in [1, 3] {
        println!("seed {seed}, masters {masters}");
        let faults = Faults::all(Duration::from_millis(700), Duration::from_secs(120));
        let options = Options::new(seed, 6, 4, 60).with_faults(faults);
        let outcome = run(&options.led_by(masters).checked_every(7));
        assert_eq!(outcome.jobs_done, 240);
    }
}

#[test]
fn reservations_and_volumes_through_dense_faults() {
    let first = seed_or(500);
    let seeds = match std::env::var_os("NESOS_SIM_SEED") {
        Some(_) => first..first + 1,
        None => first..first + 20,
    };
    let mut volumes = 0;
    for seed in seeds {
        let faults = Faults::all(Duration::from_secs(1), Duration::from_secs(120));
        let options = Options::new(seed, 6, 4, 60).with_faults(faults);
        let outcome = run(&options.reserving(200).checked_every(7));
        assert_eq!(outcome.jobs_done, 240);
        volumes += outcome.volumes;
    }
    assert!(volumes > 0, "some volumes outlived it all");
}

#[test]
fn unused_cpu_is_lent_and_taken_back_through_dense_faults() {
    let first = seed_or(900);
    let seeds = match std::env::var_os("NESOS_SIM_SEED") {
        Some(_) => first..first + 1,
        None => first..first + 20,
    };
    let (mut borrowed, mut preempted) = (0, 0);
    for seed in seeds {
        let faults = Faults::all(Duration::from_secs(2), Duration::from_secs(120));
        let mut options = Options::new(seed, 6, 4, 60).with_faults(faults).lending();
        options.task_time = Duration::from_secs(60);
        let outcome = run(&options.checked_every(7));
        assert_eq!(outcome.jobs_done, 240);
        borrowed += outcome.borrowed;
        preempted += outcome.preempted;
    }
    assert!(
        borrowed > preempted && preempted > 0,
        "{borrowed} {preempted}"
    );
}

#[test]
fn executors_and_their_tasks_through_dense_faults() {
    let first = seed_or(1300);
    let seeds = match std::env::var_os("NESOS_SIM_SEED") {
        Some(_) => first..first + 1,
        None => first..first + 30,
    };
    let mut executed = 0;
    for seed in seeds {
        let faults = Faults::all(Duration::from_secs(1), Duration::from_secs(120));
        let options = Options::new(seed, 6, 4, 60).with_faults(faults);
        let outcome = run(&options.executing(600).reserving(50).checked_every(7));
        assert_eq!(outcome.jobs_done, 240);
        executed += outcome.executed;
    }
    assert!(executed > 1000, "{executed}");
}

#[test]
fn a_seed_replays_itself() {
    let faults = Faults::all(Duration::from_secs(1), Duration::from_secs(60));
    let options = Options::new(seed_or(3), 20, 4, 50).with_faults(faults);
    let first = run(&options);
    assert_eq!(first, run(&options));
    let other = Options {
        seed: options.seed + 1,
        ..options
    };
    assert_ne!(first.digest, run(&other).digest);
}
