//! Shows that the simulator's checker can fail: hosts that betray their core, each in one way, are caught within
//! a few seeds.

use std::time::Duration;

use nesos_tests::sim::{Faults, Options, Sabotage, try_run};

/// Within how many seeds each saboteur is caught.
const SEEDS: u64 = 20;

fn options(seed: u64, sabotage: Sabotage) -> Options {
    let faults = Faults::all(Duration::from_millis(700), Duration::from_secs(120));
    let masters = match sabotage {
        Sabotage::DeposedSpeaks | Sabotage::UnfencedCommits => 3,
        _ => 1,
    };
    let mut options = Options::new(seed, 6, 4, 60)
        .with_faults(faults)
        .led_by(masters)
        .checked_every(7)
        .sabotaged(sabotage);
    options.limits = sabotage == Sabotage::RolesForgotten;
    options.give_up_after = Duration::from_secs(4 * 3600);
    options
}

/// What the checker says of a saboteur, and after how many seeds.
fn caught(sabotage: Sabotage) -> (u64, String) {
    let failures = (1..=SEEDS).filter_map(|seed| {
        let failure = try_run(&options(seed, sabotage)).err()?;
        Some((seed, failure.what))
    });
    let first = failures.into_iter().next();
    first.unwrap_or_else(|| panic!("{sabotage:?} was not caught within {SEEDS} seeds"))
}

/// A saboteur is caught, and the checker says why in these words.
fn is_caught(sabotage: Sabotage, words: &str) {
    let (seeds, what) = caught(sabotage);
    eprintln!("{sabotage:?} was caught with seed {seeds}: {what}");
    assert!(what.contains(words), "{sabotage:?}: {what}");
}

#[test]
fn effects_before_the_commit() {
    is_caught(Sabotage::EffectsBeforeCommit, "the store does not have it");
}

#[test]
fn records_forgotten_at_a_commit() {
    is_caught(Sabotage::RecordsForgotten, "the store does not have it");
}

#[test]
fn limits_of_roles_forgotten() {
    is_caught(Sabotage::RolesForgotten, "may have");
}

#[test]
fn commits_that_do_not_compare_the_lease() {
    is_caught(Sabotage::UnfencedCommits, "commits without the lease");
}

#[test]
fn a_deposed_leader_that_speaks() {
    is_caught(Sabotage::DeposedSpeaks, "its lease has run out");
}

#[test]
fn an_offer_taken_back_twice() {
    is_caught(Sabotage::DoubleRescind, "was taken back and is not open");
}

#[test]
fn offers_before_the_agents_are_back() {
    is_caught(
        Sabotage::OffersBeforeAgentsAreBack,
        "something was given twice",
    );
}

#[test]
fn a_reconciliation_that_answers_what_it_does_not_know() {
    is_caught(
        Sabotage::GuessedReconciliation,
        "its scheduler is told that it is Gone",
    );
}

#[test]
fn ends_that_no_scheduler_hears() {
    is_caught(Sabotage::EndsSwallowed, "its scheduler did not do it");
}

#[test]
fn resources_that_are_never_freed() {
    is_caught(Sabotage::NeverFreed, "not done");
}

#[test]
fn resources_freed_while_their_task_runs() {
    is_caught(Sabotage::FreedWhileRunning, "something was given twice");
}

#[test]
fn kills_forgotten() {
    is_caught(Sabotage::KillsForgotten, "not done");
}

#[test]
fn launches_that_come_twice() {
    is_caught(Sabotage::LaunchedAgain, "runs on agent");
}

#[test]
fn launches_on_two_agents() {
    is_caught(Sabotage::LaunchedElsewhere, "by a new update");
}

#[test]
fn acknowledgements_before_anything_is_durable() {
    is_caught(Sabotage::CommittedTooEarly, "that is not durable");
}

#[test]
fn a_checkpoint_whose_tail_is_lost() {
    is_caught(Sabotage::TailLost, "that is not durable");
}

#[test]
fn updates_said_again_after_their_acknowledgement() {
    is_caught(Sabotage::AcknowledgedSaidAgain, "which was acknowledged");
}

#[test]
fn repetitions_that_cannot_be_told_from_news() {
    is_caught(Sabotage::RepetitionsNumberedAnew, "by a new update");
}

#[test]
fn updates_in_the_wrong_order() {
    is_caught(Sabotage::OutOfOrder, "by a new update");
}

#[test]
fn the_same_without_a_saboteur_is_well() {
    for sabotage in [
        Sabotage::EffectsBeforeCommit,
        Sabotage::DeposedSpeaks,
        Sabotage::RolesForgotten,
    ] {
        let mut options = options(1, sabotage);
        options.sabotage = None;
        let outcome = try_run(&options);
        assert!(outcome.is_ok(), "{}", outcome.expect_err("it failed"));
    }
}

#[test]
fn a_failure_says_what_led_to_it_and_how_to_see_it_again() {
    let failure = try_run(&options(1, Sabotage::DoubleRescind));
    let failure = (2..SEEDS).fold(failure, |failure, seed| match failure {
        Ok(_) => try_run(&options(seed, Sabotage::DoubleRescind)),
        failed => failed,
    });
    let explained = failure.expect_err("it is caught").explained();
    assert!(explained.options.agents < 6, "a smaller run fails as well");
    let text = explained.to_string();
    assert!(text.contains("Rescind"), "{text}");
    assert!(text.contains(&explained.options.command()), "{text}");
    let again = try_run(&explained.options).expect_err("it fails again");
    assert_eq!(again.what, explained.what);
    assert_eq!((again.at, again.events), (explained.at, explained.events));
}
