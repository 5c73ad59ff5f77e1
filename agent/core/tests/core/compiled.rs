//! What an agent tells of its compiled bundles.

use nesos_agent_core::Event;

use crate::rig::{Rig, config, digest};

fn compiled(numbers: &[u8]) -> Event {
    Event::Compiled(numbers.iter().map(|number| digest(*number)).collect())
}

#[test]
fn the_master_hears_of_all_and_then_of_changes() {
    let mut rig = Rig::new(config());
    assert_eq!(rig.event(compiled(&[1, 2])), "", "nobody listens yet");
    rig.tick();
    rig.connected();
    let said = rig.registered();
    assert_eq!(said, "master <- compiled [1, 2], dropped []\n");
    assert_eq!(rig.event(compiled(&[1, 2])), "");
    let said = rig.event(compiled(&[2, 3]));
    assert_eq!(said, "master <- compiled [3], dropped [1]\n");
}

#[test]
fn a_new_registration_is_told_all_of_it() {
    let mut rig = Rig::new(config());
    rig.register();
    rig.event(compiled(&[1]));
    rig.disconnected();
    assert_eq!(rig.event(compiled(&[1, 2])), "");
    rig.tick();
    rig.connected();
    let said = rig.registered();
    assert_eq!(said, "master <- compiled [1, 2], dropped []\n");
}
