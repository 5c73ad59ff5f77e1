//! Schedulers and agents at their doors.

use super::*;

#[tokio::test]
async fn a_task_goes_down_and_its_statuses_come_up() {
    let master = TestMaster::start().await;
    let (mut scheduler, mut agent) = (master.scheduler().await, master.agent().await);
    let framework = scheduler.subscribe(None).await;
    let agent_id = agent.register().await;

    let offer = scheduler.offer().await;
    assert_eq!(offer.agent, agent_id);
    assert_eq!(offer.resources, agent_info().resources);
    scheduler.call([accept(&offer, task("t"))]).await;
    match agent.command().await {
        AgentCommand::Launch {
            framework: launched_by,
            tasks,
            ..
        } => {
            assert_eq!(launched_by, framework);
            assert_eq!(*tasks[0], task("t"));
        }
        other => panic!("{other:?}"),
    }

    let updates = [(TaskState::Running, 1), (TaskState::Finished, 2)];
    agent
        .say(updates.map(|(state, update)| AgentEvent::Update {
            framework,
            status: status("t", state, update),
            latest: TaskState::Finished,
        }))
        .await;
    for (state, update) in updates {
        let status = scheduler.update().await;
        assert_eq!(status.state, state);
        let acknowledge = SchedulerCall::Acknowledge {
            agent: agent_id,
            task: status.task,
            update: status.update.expect("is to be acknowledged"),
        };
        scheduler.call([acknowledge]).await;
        match agent.command().await {
            AgentCommand::Acknowledge { update: seen, .. } => assert_eq!(seen, UpdateId(update)),
            other => panic!("{other:?}"),
        }
    }
    master.stop().await;
}

#[tokio::test]
async fn the_first_call_must_be_subscribe() {
    let master = TestMaster::start().await;
    let mut scheduler = master.scheduler().await;
    scheduler.call([SchedulerCall::Teardown]).await;
    assert_eq!(
        scheduler.event().await,
        SchedulerEvent::Refused(Refusal::NotSubscribed)
    );
    assert!(scheduler.next().await.is_none(), "the stream has ended");

    let mut agent = master.agent().await;
    agent.say([AgentEvent::Pong]).await;
    assert_eq!(
        agent.command().await,
        AgentCommand::Refused(Refusal::NotSubscribed)
    );
    assert!(agent.frames.next().await.is_none(), "the stream has ended");
    master.stop().await;
}

#[tokio::test]
async fn what_is_not_understood_is_answered_and_skipped() {
    let master = TestMaster::start().await;
    let mut scheduler = master.scheduler().await;
    scheduler.subscribe(None).await;
    let unknown = v1::SchedulerCall { call: None };
    let invalid = v1::SchedulerCall {
        call: Some(v1::scheduler_call::Call::Kill(v1::Kill {
            task_id: "a/b".into(),
            grace_us: None,
        })),
    };
    let calls = vec![unknown, invalid];
    scheduler
        .calls
        .send(v1::SchedulerCalls { calls })
        .await
        .unwrap();
    assert_eq!(
        scheduler.event().await,
        SchedulerEvent::Refused(Refusal::UnknownMessage {
            what: "SchedulerCall".into()
        })
    );
    match scheduler.event().await {
        SchedulerEvent::Refused(Refusal::InvalidCall { call, why }) => {
            assert_eq!(call, "Kill");
            assert!(why.contains("task_id"), "{why}");
        }
        other => panic!("{other:?}"),
    }

    let known = "t".parse().unwrap();
    scheduler
        .call([SchedulerCall::Reconcile {
            tasks: vec![(known, None)],
        }])
        .await;
    assert_eq!(scheduler.update().await.state, TaskState::Unknown);
    master.stop().await;
}

#[tokio::test]
async fn a_newer_scheduler_takes_over() {
    let master = TestMaster::start().await;
    let mut older = master.scheduler().await;
    let framework = older.subscribe(None).await;
    let mut newer = master.scheduler().await;
    assert_eq!(newer.subscribe(Some(framework)).await, framework);
    assert_eq!(
        older.event().await,
        SchedulerEvent::Refused(Refusal::FailedOver)
    );
    assert!(older.next().await.is_none(), "the stream has ended");
    master.stop().await;
}

#[tokio::test]
async fn the_end_of_a_stream_is_noticed() {
    let master = TestMaster::start().await;
    let mut agent = master.agent().await;
    agent.register().await;
    let mut first = master.scheduler().await;
    first.subscribe(None).await;
    let offer = first.offer().await;
    let mut second = master.scheduler().await;
    second.subscribe(None).await;
    drop(first);
    let again = second.offer().await;
    assert_eq!(again.agent, offer.agent);
    assert_ne!(again.id, offer.id);
    master.stop().await;
}

#[tokio::test]
async fn those_who_are_connected_hear_that_the_master_stops() {
    let master = TestMaster::start().await;
    let mut scheduler = master.scheduler().await;
    scheduler.subscribe(None).await;
    master.stop().await;
    let status = scheduler.next().await.expect("last words").unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn a_scheduler_that_does_not_read_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = MasterConfig::ephemeral(directory.path());
    config.streams.max_queued_messages = 8;
    let running = Master::start(config).await.unwrap();
    let master = TestMaster { running, directory };
    let mut scheduler = master.scheduler().await;
    scheduler.subscribe(None).await;
    // One call, more answers than may be queued.
    let tasks = (0..9).map(|n| (format!("t{n}").parse().unwrap(), None));
    let tasks = tasks.collect();
    scheduler.call([SchedulerCall::Reconcile { tasks }]).await;
    assert_eq!(
        scheduler.event().await,
        SchedulerEvent::Refused(Refusal::TooSlow)
    );
    assert!(scheduler.next().await.is_none(), "the stream has ended");
    master.stop().await;
}
