//! States as they come over the wire, and what is shown of them.

use expect_test::expect;
use nesos_types::bundle::Digest;
use nesos_types::ids::TaskId;

use super::*;
use crate::output::Style;

fn task(id: &str, state: v1::TaskState, exit_code: Option<u32>) -> v1::TaskRecord {
    let id: TaskId = id.parse().expect("an id");
    let info = TaskInfo::new(id.clone(), Digest([0; 32]), Resources::new(500, 64 << 20));
    v1::TaskRecord {
        framework_id: "fw-1".to_owned(),
        agent_id: "ag-1".to_owned(),
        agent_url: "http://host:5051".to_owned(),
        role: "web".to_owned(),
        task: Some((&info).into()),
        state: state.into(),
        status: Some(v1::TaskStatus {
            task_id: id.to_string(),
            state: state.into(),
            source: v1::StatusSource::Cell.into(),
            at_us: 61_000_000,
            exit_code,
            message: "a\nmessage".to_owned(),
            ..v1::TaskStatus::default()
        }),
        launched_us: 1_000_000,
    }
}

fn state() -> v1::State {
    v1::State {
        master: Some(v1::MasterState {
            now_us: 7_201_000_000,
            ..v1::MasterState::default()
        }),
        tasks: vec![
            task("a", v1::TaskState::Running, None),
            task("b", v1::TaskState::Failed, Some(3)),
        ],
        roles: vec![v1::RoleState {
            name: "web".to_owned(),
            weight_milli: 1500,
            allocated: Some((&Resources::new(500, 64 << 20)).into()),
            offered: None,
            frameworks: 1,
            share_millionths: 123_456,
            signers: vec!["PEM".to_owned()],
            ..v1::RoleState::default()
        }],
        ..v1::State::default()
    }
}

#[test]
fn tasks_are_a_table() {
    let view = StateView::new(state()).expect("understood");
    expect![[r#"
        TASK  NAME  STATE       ROLE  CPUS  MEMORY  AGE  MESSAGE
        a     a     running     web   0.5   64 MiB  2h   a\nmessage
        b     b     failed (3)  web   0.5   64 MiB  60s  a\nmessage"#]]
    .assert_eq(&TaskView::table(&view.tasks).render(Style::plain(), 0));
}

#[test]
fn roles_are_a_table() {
    let view = StateView::new(state()).expect("understood");
    expect![[r#"
        ROLE  WEIGHT  PRIORITY  FRAMEWORKS  USED             OFFERED  SHARE   GUARANTEE  LIMIT  SIGNERS
        web   1.5     0         1           0.5 CPU, 64 MiB  -        12.3 %  -          -      1"#]]
    .assert_eq(&RoleView::table(&view.roles).render(Style::plain(), 0));
}

#[test]
fn programs_read_states_by_name() {
    let view = StateView::new(state()).expect("understood");
    let json = serde_json::to_value(&view.tasks).expect("JSON");
    assert_eq!(json[0]["id"], "a");
    assert_eq!(json[0]["state"], "running");
    assert_eq!(json[0]["info"]["resources"]["cpu_milli"], 500);
    assert_eq!(json[1]["exit_code"], 3);
}

#[test]
fn an_answer_that_makes_no_sense_is_an_error() {
    let mut state = state();
    state.tasks[0].task = None;
    assert!(StateView::new(state).is_err());
}

#[test]
fn ages_are_rounded() {
    for (millis, text) in [
        (5, "5ms"),
        (61_000, "61s"),
        (120_000, "2m"),
        (7_200_000, "2h"),
        (172_800_000, "2d"),
    ] {
        assert_eq!(age(Duration::from_millis(millis)), text);
    }
}
