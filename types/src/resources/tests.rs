use proptest::prelude::*;

use super::*;

fn any_ranges() -> impl Strategy<Value = RangeSet> {
    proptest::collection::vec((0u64..60, 0u64..6), 0..5)
        .prop_map(|ranges| RangeSet::new(ranges.into_iter().map(|(low, len)| (low, low + len))))
}

fn any_resources() -> impl Strategy<Value = Resources> {
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
    fn ranges_are_a_set(a in any_ranges(), b in any_ranges()) {
        let members = |set: &RangeSet| -> BTreeSet<u64> {
            set.as_slice().iter().flat_map(|(low, high)| *low..=*high).collect()
        };
        let (in_a, in_b) = (members(&a), members(&b));
        prop_assert_eq!(a.contains(&b), in_a.is_superset(&in_b));
        prop_assert_eq!(a.checked_union(&b).is_some(), in_a.is_disjoint(&in_b));
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
