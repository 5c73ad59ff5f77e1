//! A million tasks through the core: nothing of them stays behind.

use nesos_types::task::TaskState;

use crate::rig::{Rig, config, task};

/// Tables, timers and marks go with their task, or a long-lived agent would grow without bound.
#[test]
fn nothing_grows_with_the_number_of_tasks() {
    let mut config = config();
    config.sandbox_keep_count = 10;
    let mut rig = Rig::warm(config);
    for number in 0..2000 {
        let id = format!("t{number}");
        rig.launch([task(&id)]);
        rig.status(0, &id, TaskState::Running);
        rig.ack(&id);
        rig.status(0, &id, TaskState::Finished);
        rig.ack(&id);
        if number % 64 == 0 {
            rig.commit();
        }
    }
    rig.commit();
    let snapshot = rig.agent.snapshot();
    assert_eq!(snapshot.tasks, []);
    assert_eq!(snapshot.sandboxes_kept, 10);
    assert_eq!(snapshot.stats.tasks_finished, 2001);
    assert_eq!(
        rig.disk.len(),
        2,
        "the agent and its cell: {:?}",
        rig.disk.keys()
    );
}
