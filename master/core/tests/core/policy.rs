//! Policies: set at run time, kept in the registry, and put aside when they fail.

use std::sync::mpsc::{Receiver, Sender, channel};

use expect_test::expect;
use nesos_master_core::{
    Blocked, BuiltInPolicy, MasterConfig, NewPolicy, PolicyFault, PolicyGuest,
};
use nesos_types::bundle::Digest;
use nesos_types::message::SchedulerCall;
use nesos_types::offer::Filters;
use nesos_types::resources::Resources;
use nesos_types::role::{Role, RoleSettings};
use nesos_types::task::TaskState;
use nesos_types::time::Time;

use crate::script::{Script, res, seconds, task};

const DIGEST: Digest = Digest([7; 32]);

/// Answers what the test says, turn by turn and then for ever the last, and tells what it was told.
#[derive(Debug)]
struct Fake {
    turns: Vec<Result<Vec<u32>, PolicyFault>>,
    rest: Vec<u32>,
    /// Nothing is to be served: the next turn only takes in what was told.
    catches_up: bool,
    told: Sender<String>,
}

impl Fake {
    fn answering(
        turns: Vec<Result<Vec<u32>, PolicyFault>>,
    ) -> (Box<dyn PolicyGuest>, Receiver<String>) {
        let (told, receiver) = channel();
        let fake = Self {
            turns,
            rest: Vec::new(),
            catches_up: false,
            told,
        };
        (Box::new(fake), receiver)
    }

    fn tell(&self, line: String) {
        // A test that does not look has dropped the other end.
        let _ = self.told.send(line);
    }
}

impl PolicyGuest for Fake {
    fn configure(&mut self, role: &Role, settings: &RoleSettings) {
        self.tell(format!("{role} weighs {}", settings.weight.milli()));
    }

    fn grow(&mut self, agent: &Resources) {
        self.tell(format!("more: {agent}"));
    }

    fn shrink(&mut self, agent: &Resources) {
        self.tell(format!("less: {agent}"));
    }

    fn put_client(&mut self, client: u32, role: &Role) {
        self.tell(format!("client {client} in {role}"));
    }

    fn remove_client(&mut self, client: u32) {
        self.tell(format!("client {client} is gone"));
    }

    fn set_wanting(&mut self, client: u32, wanting: bool) {
        self.tell(format!("client {client} wants: {wanting}"));
    }

    fn charge(&mut self, client: u32, resources: &Resources) {
        self.tell(format!("client {client} has {resources} more"));
    }

    fn refund(&mut self, client: u32, resources: &Resources) {
        self.tell(format!("client {client} has {resources} less"));
    }

    fn served(&mut self, client: u32) {
        self.tell(format!("client {client} is served"));
    }

    fn begin(&mut self, agents: usize) {
        self.catches_up = agents == 0;
    }

    fn turn(&mut self, _: Time) -> Result<Option<u32>, PolicyFault> {
        if self.catches_up {
            return Ok(None);
        }
        let turn = if self.turns.len() > 1 {
            self.turns.remove(0)
        } else {
            self.turns[0].clone()
        };
        let mut names = turn?.into_iter();
        let first = names.next();
        self.rest = names.collect();
        Ok(first)
    }

    fn another(&mut self, most: u32) -> Result<Vec<u32>, PolicyFault> {
        let most = self.rest.len().min(most as usize);
        Ok(self.rest.drain(..most).collect())
    }

    fn fuel_used(&self) -> u64 {
        0
    }
}

fn plugin(guest: Box<dyn PolicyGuest>) -> NewPolicy {
    NewPolicy::Plugin {
        name: "fake".to_owned(),
        digest: DIGEST,
        guest,
    }
}

/// Frameworks `a` and `b`, which are clients 0 and 1, under a guest that answers so, and an agent.
fn two_frameworks(turns: Vec<Result<Vec<u32>, PolicyFault>>) -> Script {
    let mut script = Script::new();
    script.subscribe(1, "a");
    script.subscribe(2, "b");
    script.set_policy(plugin(Fake::answering(turns).0));
    script.skip();
    script.register(3, "host", res(4, 4096));
    script
}

#[test]
fn a_plugin_decides_who_is_served() {
    let mut script = two_frameworks(vec![Ok(vec![1, 0])]);
    assert!(script.said("2< Offers"));
    // The offer is turned down for a while, so the next in its order has it.
    let offers = vec![script.last_offer()];
    let filters = Filters::refuse_for(seconds(100));
    script.skip();
    script.call(2, SchedulerCall::Decline { offers, filters });
    assert!(script.said("1< Offers"));
    let stats = script.master.stats();
    assert_eq!((stats.policy_turns, stats.policy_faults), (2, 0));
}

#[test]
fn who_waits_for_a_plugin_is_told_so_because_it_has_no_shares() {
    let mut script = Script::with(MasterConfig {
        allocation_window: seconds(60),
        ..MasterConfig::default()
    });
    script.subscribe(1, "a");
    script.subscribe(2, "b");
    script.set_policy(plugin(Fake::answering(vec![Ok(vec![1, 0])]).0));
    script.register(3, "host", res(4, 4096));
    let waits = script.master.explain(script.frameworks[0]);
    let ranked = Blocked::RankedByPlugin {
        plugin: "fake".to_owned(),
        others: 1,
    };
    assert_eq!(waits.roles[0].groups[0].blocked, ranked);
}

#[test]
fn any_fault_is_told_and_the_built_in_policy_decides_in_the_same_turn() {
    for (answer, fault) in [
        (
            Err(PolicyFault::Trapped("unreachable".into())),
            "it trapped: unreachable",
        ),
        (Err(PolicyFault::OutOfFuel), "it used up its fuel"),
        (Ok(vec![9]), "it named client 9, which there is not"),
        (
            Ok(vec![u32::MAX]),
            "it named client 4294967295, which there is not",
        ),
        (Ok(vec![]), "it left out 2 clients"),
    ] {
        let script = two_frameworks(vec![answer]);
        assert!(script.said("Offers"), "{fault}");
        assert!(
            script.said(&format!("seen: policy fake failed: {fault}")),
            "{fault}"
        );
        let snapshot = script.master.snapshot();
        assert_eq!(snapshot.policy.digest, Some(DIGEST));
        assert!(
            snapshot
                .policy
                .fault
                .is_some_and(|told| told.contains(fault))
        );
        assert_eq!(snapshot.stats.policy_faults, 1);
    }
}

#[test]
fn faults_that_show_when_the_first_does_not_take() {
    for (answer, fault) in [
        (Ok(vec![1, 1]), "it named client 1 twice"),
        (Ok(vec![1]), "it left out 1 clients"),
        (Ok(vec![1, 2]), "it named client 2, which there is not"),
        (Ok(vec![1, 0]), ""),
    ] {
        let mut script = two_frameworks(vec![Ok(vec![1]), answer]);
        let offers = vec![script.last_offer()];
        let filters = Filters::refuse_for(seconds(100));
        script.skip();
        script.call(2, SchedulerCall::Decline { offers, filters });
        assert!(script.said("1< Offers"), "{fault}");
        assert_eq!(script.said("failed: "), !fault.is_empty());
        assert!(script.said(fault), "{fault}");
    }
}

#[test]
fn who_wants_nothing_may_not_be_named() {
    let mut script = two_frameworks(vec![Ok(vec![0]), Ok(vec![0])]);
    let offers = vec![script.last_offer()];
    script.call(1, SchedulerCall::Suppress { roles: [].into() });
    script.skip();
    let filters = Filters::none();
    script.call(1, SchedulerCall::Decline { offers, filters });
    assert!(script.said("2< Offers"));
    assert!(script.said("it named client 0, which wants no offers"));
}

#[test]
fn a_plugin_that_failed_is_gone_until_a_policy_is_set() {
    let mut script = two_frameworks(vec![Err(PolicyFault::OutOfFuel), Ok(vec![1, 0])]);
    script.register(4, "other", res(4, 4096));
    let stats = script.master.stats();
    assert_eq!((stats.policy_turns, stats.policy_faults), (1, 1));
    script.set_policy(plugin(Fake::answering(vec![Ok(vec![1, 0])]).0));
    assert_eq!(script.master.policy().fault, None);
    script.skip();
    script.register(5, "third", res(4, 4096));
    assert!(script.said("2< Offers"));
    script.set_policy(NewPolicy::BuiltIn(BuiltInPolicy::Drf));
    assert_eq!(script.master.policy().name, "drf");
}

#[test]
fn a_new_policy_hears_of_everything_that_there_is() {
    let mut script = Script::ready();
    let offer = script.last_offer();
    script.launch(1, &[offer], &[task("t", res(1, 1024))]);
    script.update(2, "t", TaskState::Running, 1);
    script.subscribe(3, "b");
    script.skip();
    let (guest, told) = Fake::answering(vec![Ok(vec![0, 1])]);
    script.set_policy(plugin(guest));
    script.expect(&expect![[r#"
        durable: policy Plugin { name: "fake", digest: sha256:0707070707070707070707070707070707070707070707070707070707070707 }
        seen: policy fake
    "#]]);
    let told: Vec<_> = told.try_iter().collect();
    expect![[r#"
        more: <4 CPUs, 4 GiB>
        client 0 in *
        client 0 wants: true
        client 1 in *
        client 1 wants: true
        client 0 has <1 CPU, 1 GiB> more
        client 1 has <3 CPUs, 3 GiB> more"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn the_choice_is_kept_and_the_plugin_handed_in_again() {
    let mut script = Script::new();
    script.set_policy(plugin(Fake::answering(vec![Ok(vec![0])]).0));
    script.restart();
    assert_eq!(script.master.chosen_plugin(), Some(DIGEST));
    assert!(
        script.master.policy().fault.is_some(),
        "it is not there yet"
    );
    script
        .master
        .restore_plugin(Ok(Fake::answering(vec![Ok(vec![0])]).0));
    let view = script.master.policy();
    assert_eq!((view.name.as_str(), view.fault), ("fake", None));

    script.restart();
    script.master.restore_plugin(Err("it is lost".to_owned()));
    assert_eq!(
        script.master.policy().fault.as_deref(),
        Some("it cannot be loaded: it is lost")
    );
    script.subscribe(1, "a");
    script.register(2, "host", res(4, 4096));
    assert!(script.said("1< Offers"), "the built-in policy decides");

    script.set_policy(NewPolicy::BuiltIn(BuiltInPolicy::Priority));
    script.restart();
    assert_eq!(script.master.chosen_plugin(), None);
    assert_eq!(script.master.policy().name, "priority");
}
