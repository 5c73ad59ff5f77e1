//! What people read.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

use crate::cluster::World;
use crate::faults::Kind;
use crate::verdict::Verdict;

/// Prints a line. Whoever does not listen misses it.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Says what cannot be broken here.
pub(crate) fn say_what_is_left_out(world: &World) {
    if world.faketime.is_none() {
        say(format_args!(
            "LEFT OUT: clocks are not skewed; libfaketime is not installed"
        ));
    }
    if !world.agents.iter().all(|agent| agent.own_disk) {
        say(format_args!(
            "LEFT OUT: no disk is filled; this user may not mount one"
        ));
    }
}

/// Says how often what was broken, and what became of the tasks.
pub(crate) fn report(injected: &BTreeMap<(Kind, &str), usize>, verdict: &Verdict, held: &[String]) {
    say(format_args!("\nfaults"));
    for ((kind, noun), count) in injected {
        say(format_args!("  {:<42}{count:>7}", format!("{kind} {noun}")));
    }
    say(format_args!("tasks"));
    let rows = [
        ("submitted", verdict.submitted),
        ("finished", verdict.finished),
        ("tried again", verdict.retried()),
        ("ended otherwise after their line", verdict.after_their_line),
        ("lost", verdict.lost.len()),
        ("doubled", verdict.doubled.len()),
        ("still held in the end", held.len()),
    ];
    for (what, count) in rows {
        say(format_args!("  {what:<42}{count:>7}"));
    }
    say(format_args!("ends that were tried again"));
    for (how, count) in &verdict.otherwise {
        say(format_args!("  {how:<42}{count:>7}"));
    }
    for line in verdict
        .lost
        .iter()
        .chain(&verdict.doubled)
        .chain(held)
        .take(50)
    {
        say(format_args!("WRONG: {line}"));
    }
}
