use proptest::prelude::*;

use super::*;
use crate::ids::FrameworkId;
use crate::reservation::{Claim, Owner, Reservation, Volume};

fn any_ranges() -> impl Strategy<Value = RangeSet> {
    proptest::collection::vec((0u64..60, 0u64..6), 0..5)
        .prop_map(|ranges| RangeSet::new(ranges.into_iter().map(|(low, len)| (low, low + len))))
}

fn any_claim() -> impl Strategy<Value = Claim> {
    let owner = prop_oneof![
        Just(Owner::Agent),
        Just(Owner::Operator),
        Just(Owner::Framework {
            id: FrameworkId(1),
            principal: String::new()
        }),
    ];
    let reservation = ("[ab]", owner.clone()).prop_map(|(role, owner)| Reservation {
        role: role.parse().expect("a role"),
        owner,
        labels: std::collections::BTreeMap::new(),
    });
    let volume = ("[vw]", owner).prop_map(|(id, owner)| Volume {
        id: id.parse().expect("a volume id"),
        owner,
    });
    (
        proptest::collection::vec(reservation, 0..3),
        proptest::option::of(volume),
        any::<bool>(),
    )
        .prop_map(|(reservations, volume, revocable)| Claim {
            reservations,
            volume,
            revocable,
        })
}

fn any_resources() -> impl Strategy<Value = Resources> {
    (
        any_unclaimed(),
        proptest::collection::vec((any_claim(), any_unclaimed()), 0..3),
    )
        .prop_map(|(unclaimed, parts)| {
            parts.into_iter().fold(unclaimed, |sum, (claim, amounts)| {
                let part = Resources::claimed(claim, amounts);
                sum.checked_add(&part).unwrap_or(sum)
            })
        })
}

fn any_unclaimed() -> impl Strategy<Value = Resources> {
    let quantity = prop_oneof![Just(0u64), 0u64..10_000, any::<u64>()];
    (
        (quantity.clone(), quantity.clone(), quantity),
        proptest::collection::btree_map("[a-c]", 0u64..5, 0..3),
        any_ranges(),
        proptest::collection::btree_set("[x-z]", 0..3),
    )
        .prop_map(|((cpu, mem, disk), custom, ports, set)| {
            let bare = Resources::new(cpu, mem).with_disk(disk);
            custom
                .iter()
                .fold(bare, |all, (name, milli)| all.with_custom(name, *milli))
                .with_ranges("ports", ports)
                .with_set("zones", set.iter().map(|item| item.as_str().into()))
        })
}

proptest! {
    #[test]
    fn addition_commutes(a in any_resources(), b in any_resources()) {
        prop_assert_eq!(a.checked_add(&b), b.checked_add(&a));
    }

    #[test]
    fn what_was_added_can_be_taken_away(a in any_resources(), b in any_resources()) {
        if let Some(sum) = a.checked_add(&b) {
            prop_assert!(sum.contains(&a) && sum.contains(&b));
            prop_assert_eq!(sum.checked_sub(&b), Some(a));
        }
    }

    #[test]
    fn what_was_taken_away_can_be_added(a in any_resources(), b in any_resources()) {
        prop_assert_eq!(a.checked_sub(&b).is_some(), a.contains(&b));
        if let Some(rest) = a.checked_sub(&b) {
            prop_assert_eq!(rest.checked_add(&b), Some(a));
        }
    }

    #[test]
    fn nothing_is_neutral(a in any_resources()) {
        prop_assert_eq!(a.checked_add(&Resources::default()), Some(a.clone()));
        prop_assert_eq!(a.checked_sub(&a), Some(Resources::default()));
        prop_assert_eq!(a.is_empty(), a == Resources::default());
    }

    #[test]
    fn what_is_chosen_is_there_and_is_what_was_wanted(
        have in any_resources(),
        wanted in any_unclaimed(),
    ) {
        if let Some(chosen) = have.choose(&wanted) {
            prop_assert!(have.contains(&chosen));
            prop_assert_eq!(chosen.flattened(), wanted);
            prop_assert_eq!(chosen.volumes().count(), 0);
        } else {
            prop_assert!(!have.contains(&wanted));
        }
    }

    #[test]
    fn claims_take_resources_apart(all in any_resources()) {
        let mut by_claim = all.by_claim().map(|(claim, part)| Resources::claimed(claim, part));
        let sum = by_claim.try_fold(Resources::default(), |sum, part| sum.checked_add(&part));
        prop_assert_eq!(sum, Some(all.clone()));
    }

    #[test]
    fn ranges_are_a_set(a in any_ranges(), b in any_ranges()) {
        let members = |set: &RangeSet| -> BTreeSet<u64> {
            set.as_slice().iter().flat_map(|(low, high)| *low..=*high).collect()
        };
        let (in_a, in_b) = (members(&a), members(&b));
        prop_assert_eq!(a.contains(&b), in_a.is_superset(&in_b));
        prop_assert_eq!(a.checked_union(&b).is_some(), in_a.is_disjoint(&in_b));
        prop_assert_eq!(members(&a.intersection(&b)), &in_a & &in_b);
        if let Some(rest) = a.checked_difference(&b) {
            prop_assert_eq!(members(&rest), &in_a - &in_b);
            prop_assert_eq!(RangeSet::new(rest.as_slice().iter().copied()), rest);
        }
        prop_assert_eq!(a.to_string().parse(), Ok(a));
    }

    #[test]
    fn cpus_survive_their_text(milli in any::<u64>()) {
        prop_assert_eq!(parse_cpus(&format_cpus(milli)), Ok(milli));
    }
}

#[test]
fn bad_amounts_say_what_is_wrong() {
    use QuantityError as E;
    type Wrong = fn(String) -> E;
    let cases: [(&str, Wrong); 8] = [
        ("-1", E::Negative),
        ("-0.5", E::Negative),
        ("NaN", E::NotANumber),
        ("inf", E::NotANumber),
        ("", E::NotANumber),
        ("1e3", E::NotANumber),
        ("0.0001", E::TooFine),
        ("99999999999999999999", E::TooLarge),
    ];
    for (text, error) in cases {
        assert_eq!(parse_cpus(text), Err(error(text.to_owned())));
    }
    assert_eq!(
        parse_bytes("12 potatoes"),
        Err(E::NotASize("12 potatoes".to_owned()))
    );
    assert_eq!(parse_bytes("-5MiB"), Err(E::Negative("-5MiB".to_owned())));
}

#[test]
fn resource_strings_are_those_of_mesos() {
    let resources: Resources =
        "cpus:4; mem:4096; disk:10GB; ports:[31000-32000]; gpu:1; zones:{a, b}"
            .parse()
            .expect("valid");
    assert_eq!(resources.cpu_milli, 4000);
    assert_eq!(resources.mem_bytes, 4 << 30);
    assert_eq!(resources.disk_bytes, 10_000_000_000);
    assert_eq!(
        resources.to_string(),
        "<4 CPUs, 4 GiB, 9.3 GiB disk, 1 gpu, ports [31000-32000], zones {a,b}>"
    );
    assert_eq!(
        "cpus".parse::<Resources>(),
        Err(ResourcesError::NoColon("cpus".into()))
    );
    assert_eq!(
        "cpus:1;cpus:2".parse::<Resources>(),
        Err(ResourcesError::Twice("cpus".into()))
    );
}

#[test]
fn reservations_are_written_behind_the_name() {
    let resources: Resources = "cpus:4;cpus(ads):2;mem(ads/batch):1GiB;disk(*):5;ports(ads):[1-3]"
        .parse()
        .expect("valid");
    assert_eq!(resources.cpu_milli, 4000);
    assert_eq!(resources.disk_bytes, 5 << 20);
    assert_eq!(resources.notation().parse(), Ok(resources.clone()));
    assert_eq!(
        resources.to_string(),
        "<4 CPUs, 0 B, 5 MiB disk> + <2 CPUs, ports [1-3]> reserved for ads \
         + <1 GiB> reserved for ads/batch"
    );
    for bad in [
        "cpus(a b):1",
        "cpus(a:1",
        "cpus():1",
        "cpus(a):1;cpus(a):2",
        "cpus:1;cpus(*):1",
    ] {
        let parsed = bad.parse::<Resources>();
        assert!(parsed.is_err(), "{bad}: {parsed:?}");
    }
}

#[test]
fn a_volume_is_whole_or_not_there() {
    let claim = |id: &str| Claim {
        volume: Some(Volume {
            id: id.parse().expect("a volume id"),
            owner: Owner::Operator,
        }),
        ..Claim::reserved_by_agent("a".parse().expect("a role"))
    };
    let disk = |bytes| Resources::default().with_disk(bytes);
    let volume = Resources::claimed(claim("v"), disk(10));
    let half = Resources::claimed(claim("v"), disk(5));
    assert!(!volume.contains(&half));
    assert_eq!(volume.checked_sub(&half), None);
    assert_eq!(half.checked_add(&half), None);
    assert_eq!(volume.checked_sub(&volume), Some(Resources::default()));
}

#[test]
fn what_is_reserved_is_chosen_first_and_the_most_refined_before() {
    let mut refined = Claim::reserved_by_agent("a".parse().expect("a role"));
    refined.reservations.push(Reservation {
        role: "a/b".parse().expect("a role"),
        owner: Owner::Operator,
        labels: std::collections::BTreeMap::new(),
    });
    let plain = Claim::reserved_by_agent("a".parse().expect("a role"));
    let cpus = |milli| Resources::new(milli, 0);
    let offered = [
        Resources::new(4000, 100),
        Resources::claimed(plain.clone(), cpus(1000)),
        Resources::claimed(refined.clone(), cpus(1000)),
        Resources::claimed(Claim::revocable(), cpus(9000)),
    ];
    let offered = offered
        .iter()
        .try_fold(Resources::default(), |sum, part| sum.checked_add(part))
        .expect("small numbers");
    let expected = |refined_milli, plain_milli, rest| {
        Resources::claimed(refined.clone(), cpus(refined_milli))
            .checked_add(&Resources::claimed(plain.clone(), cpus(plain_milli)))?
            .checked_add(&cpus(rest))
    };
    assert_eq!(offered.choose(&cpus(500)), expected(500, 0, 0));
    assert_eq!(offered.choose(&cpus(1500)), expected(1000, 500, 0));
    assert_eq!(offered.choose(&cpus(6000)), expected(1000, 1000, 4000));
    assert_eq!(offered.choose(&cpus(6001)), None);
}
