//! Choices at given moments.

use nesos_types::agent::{AgentInfo, Attribute};
use nesos_types::ids::{FrameworkId, OfferId};
use nesos_types::role::Role;

use super::*;

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(1000 + seconds)
}

fn offer(agent: u128, cpus: u64) -> Offer {
    let resources = Resources::new(cpus * 1000, cpus << 30);
    let mut info = AgentInfo::new("host", resources.clone());
    info.attributes
        .insert("rack".to_owned(), Attribute::Text(format!("r{agent}")));
    Offer {
        id: OfferId(agent),
        framework: FrameworkId(1),
        role: Role::default_role(),
        agent: AgentId(agent),
        agent_info: info.into(),
        resources,
        free_sandboxes: u32::MAX,
        compiled_bundles: Vec::new(),
    }
}

fn choose(policy: &mut DelayPolicy, now: Time, offer: &Offer, near: &[u128]) -> (Vec<usize>, u64) {
    let slot = Resources::new(1000, 1 << 30);
    let preferences = near
        .iter()
        .map(|agent| Preference::agents([AgentId(*agent)]));
    let preferences: Vec<_> = preferences.collect();
    let waiting = preferences.iter().map(|preference| (&slot, preference));
    let choice = policy.choose(now, offer, waiting);
    (choice.tasks, choice.filters.duration().as_secs())
}

#[test]
fn local_tasks_go_first_and_others_wait() {
    let mut policy = DelayPolicy::new(Duration::from_secs(5));
    let (tasks, refuse) = choose(&mut policy, at(0), &offer(1, 4), &[2, 1, 3, 1]);
    assert_eq!((tasks, refuse), (vec![1, 3], 5));
}

#[test]
fn patience_ends_after_the_wait_and_is_wanted_back_then() {
    let mut policy = DelayPolicy::new(Duration::from_secs(5));
    assert_eq!(choose(&mut policy, at(0), &offer(9, 1), &[1]), (vec![], 5));
    assert_eq!(choose(&mut policy, at(3), &offer(8, 1), &[1]), (vec![], 2));
    let (tasks, _) = choose(&mut policy, at(5), &offer(9, 1), &[1]);
    assert_eq!(tasks, [0]);
    // Until something local is launched, everything goes.
    let (tasks, _) = choose(&mut policy, at(6), &offer(9, 2), &[1, 2]);
    assert_eq!(tasks, [0, 1]);
    let (tasks, _) = choose(&mut policy, at(7), &offer(2, 1), &[2, 3]);
    assert_eq!(tasks, [0]);
    assert_eq!(choose(&mut policy, at(8), &offer(9, 1), &[3]), (vec![], 5));
}

#[test]
fn without_a_wait_everything_goes_and_local_tasks_still_go_first() {
    let mut policy = DelayPolicy::new(Duration::ZERO);
    let (tasks, _) = choose(&mut policy, at(0), &offer(1, 2), &[7, 8, 1]);
    assert_eq!(tasks, [2, 0]);
}

#[test]
fn time_in_which_nothing_waits_is_not_waited() {
    let mut policy = DelayPolicy::new(Duration::from_secs(5));
    choose(&mut policy, at(0), &offer(9, 1), &[1]);
    choose(&mut policy, at(1), &offer(9, 1), &[]);
    assert_eq!(choose(&mut policy, at(60), &offer(9, 1), &[1]), (vec![], 5));
}

#[test]
fn an_attribute_makes_a_place_local_as_well() {
    let near = Preference::agents([AgentId(1)]).or_attribute("rack", "r2");
    assert!(near.is_local(&offer(1, 1)) && near.is_local(&offer(2, 1)));
    assert!(!near.is_local(&offer(3, 1)));
    assert!(Preference::none().is_local(&offer(3, 1)));
}
