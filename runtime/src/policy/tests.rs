use nesos_artifacts::{policies, wasip1, wasip2};
use nesos_types::resources::Resources;

use super::*;

fn load(path: &str) -> Result<PolicyComponent, PolicyError> {
    PolicyComponent::load(&std::fs::read(path).expect("the guest was built"))
}

/// Two clients of different roles that want offers, in a cluster of one agent.
fn two_clients(policy: &mut PolicyComponent) {
    policy.grow(&Resources::new(4_000, 4 << 30));
    for (client, role) in [(0, "low"), (1, "high/web")] {
        policy.put_client(client, &role.parse().expect("a role"));
        policy.set_wanting(client, true);
    }
}

#[test]
fn a_policy_names_everybody_who_wants_offers() {
    for path in [policies::DRF, policies::PRIORITY, policies::POLICY_TRAP] {
        let mut policy = load(path).expect("a policy");
        two_clients(&mut policy);
        policy.begin(1);
        let first = policy.turn(0).expect("an answer").expect("a client");
        let rest = policy.another(8).expect("an answer");
        assert_eq!(rest, [1 - first], "{path}");
        assert!(policy.another(8).expect("an answer").is_empty());
        assert!(policy.fuel_used() > 0);
    }
}

#[test]
fn whoever_holds_less_is_first() {
    let mut policy = load(policies::DRF).expect("a policy");
    two_clients(&mut policy);
    policy.charge(0, &Resources::new(1_000, 0));
    assert_eq!(policy.turn(0), Ok(Some(1)));
    policy.served(1);
    policy.charge(1, &Resources::new(2_000, 0));
    assert_eq!(policy.turn(0), Ok(Some(0)));
    policy.configure(&"high".parse().expect("a role"), 4_000, 0);
    assert_eq!(policy.turn(0), Ok(Some(1)));
}

#[test]
fn priorities_count_until_one_has_waited_long_enough() {
    let mut policy = load(policies::PRIORITY).expect("a policy");
    policy.configure(&"high".parse().expect("a role"), 1_000, 3);
    two_clients(&mut policy);
    for now_ms in [0, 20_000, 29_999] {
        assert_eq!(policy.turn(now_ms), Ok(Some(1)), "{now_ms}");
        policy.served(1);
    }
    assert_eq!(policy.turn(30_000), Ok(Some(0)));
}

#[test]
fn a_policy_that_loops_is_stopped_by_its_fuel() {
    let mut policy = load(policies::POLICY_LOOP).expect("a policy");
    policy.begin(1);
    assert_eq!(policy.turn(0), Err(PolicyStop::OutOfFuel));
    assert!(policy.fuel_used() <= CALL_FUEL);
}

#[test]
fn a_trap_is_told() {
    let mut policy = load(policies::POLICY_TRAP).expect("a policy");
    assert_eq!(policy.turn(0), Ok(None));
    assert_eq!(policy.turn(0), Ok(None));
    assert!(matches!(policy.turn(0), Err(PolicyStop::Trapped(_))));
}

#[test]
fn all_turns_of_an_allocation_share_its_fuel() {
    let mut policy = load(policies::PRIORITY).expect("a policy");
    two_clients(&mut policy);
    policy.begin(0);
    policy.run_fuel = 1_000;
    let stopped = (0..1_000).find_map(|_| policy.another(1).err());
    assert_eq!(stopped, Some(PolicyStop::OutOfFuel));
}

#[test]
fn what_is_no_policy_is_refused_by_name() {
    let said = |path: &str| load(path).expect_err("no policy").to_string();
    assert!(said(wasip1::HELLO).contains("a core module"));
    let imports = said(wasip2::HELLO);
    assert!(
        imports.contains("imports") && imports.contains("wasi:"),
        "{imports}"
    );
    let refused = |text: &str| {
        let bytes = wat::parse_str(text).expect("valid text");
        PolicyComponent::load(&bytes)
            .expect_err("no policy")
            .to_string()
    };
    let nothing = refused("(component)");
    assert!(
        nothing.contains(ORDER) && nothing.contains("exports nothing"),
        "{nothing}"
    );
    let other =
        refused("(component (instance $i) (export \"nesos:policy/order@0.1.0\" (instance $i)))");
    assert!(other.contains("not those of this version"), "{other}");
    assert!(PolicyComponent::load(b"nothing").is_err());
}
