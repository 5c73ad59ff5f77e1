//! Operators: state, watching, killing, explaining; health and reflection.

use nesos_api::v1::operator_service_client::OperatorServiceClient;
use nesos_api::v1::watch_event::Event;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1 as reflection;

use super::*;

/// A master with an agent and frameworks that each run the task "t".
struct Cluster {
    master: TestMaster,
    agent: TestAgent,
    schedulers: Vec<(FrameworkId, TestScheduler)>,
}

impl Cluster {
    async fn with_frameworks(count: usize) -> Self {
        let master = TestMaster::start().await;
        let mut agent = master.agent().await;
        agent.register().await;
        let mut schedulers = Vec::new();
        for _ in 0..count {
            let mut scheduler = master.scheduler().await;
            let framework = scheduler.subscribe(None).await;
            let offer = scheduler.offer().await;
            scheduler.call([accept(&offer, task("t"))]).await;
            assert!(matches!(agent.command().await, AgentCommand::Launch { .. }));
            schedulers.push((framework, scheduler));
        }
        Self {
            master,
            agent,
            schedulers,
        }
    }

    async fn operator(&self) -> OperatorServiceClient<Channel> {
        OperatorServiceClient::new(self.master.channel().await)
    }
}

fn kill(framework: &str, task: &str) -> v1::OperatorKillRequest {
    v1::OperatorKillRequest {
        framework_id: framework.to_owned(),
        task_id: task.to_owned(),
        grace_us: Some(7),
    }
}

#[tokio::test]
async fn the_state_has_the_parts_that_were_asked_for() {
    let cluster = Cluster::with_frameworks(1).await;
    let mut operator = cluster.operator().await;
    let all = operator
        .get_state(v1::GetStateRequest::default())
        .await
        .unwrap()
        .into_inner();
    let master = all.master.expect("always there");
    assert_eq!(master.counters["tasks_launched"], 1);
    assert_eq!(master.total, Some((&agent_info().resources).into()));
    assert_eq!(master.allocated, Some((&task("t").resources).into()));
    assert_eq!(all.agents[0].status(), v1::AgentStatus::Active);
    assert_eq!(all.frameworks[0].tasks, 1);
    assert_eq!(all.frameworks[0].share_millionths, 250_000);
    assert_eq!(all.roles[0].allocated, master.allocated);
    assert_eq!(all.tasks[0].state(), v1::TaskState::Staging);
    assert_eq!(all.tasks[0].agent_url, agent_info().url);

    let parts = vec![v1::StatePart::Agents.into()];
    let request = v1::GetStateRequest { parts };
    let some = operator.get_state(request).await.unwrap().into_inner();
    assert_eq!((some.agents.len(), some.tasks.len()), (1, 0));

    let request = v1::GetStateRequest { parts: vec![99] };
    let status = operator.get_state(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    drop(operator);
    cluster.master.stop().await;
}

#[tokio::test]
async fn a_task_is_killed_by_its_id_where_that_is_enough() {
    let mut cluster = Cluster::with_frameworks(1).await;
    let mut operator = cluster.operator().await;
    let killed = operator.kill_task(kill("", "t")).await.unwrap();
    let key = killed.into_inner().key.expect("names the task");
    assert_eq!(key.framework_id, cluster.schedulers[0].0.to_string());
    match cluster.agent.command().await {
        AgentCommand::Kill { grace, .. } => assert_eq!(grace, Some(Duration::from_micros(7))),
        other => panic!("{other:?}"),
    }
    drop(operator);
    cluster.master.stop().await;
}

#[tokio::test]
async fn a_kill_that_names_nothing_or_several_is_refused() {
    let cluster = Cluster::with_frameworks(2).await;
    let mut operator = cluster.operator().await;
    let (first, second) = (cluster.schedulers[0].0, cluster.schedulers[1].0);
    let refused = operator.kill_task(kill("", "t")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    for framework in [first, second] {
        assert!(refused.message().contains(&framework.to_string()));
    }
    let nobody = FrameworkId(0).to_string();
    for (framework, task, code) in [
        ("", "x", Code::NotFound),
        (first.to_string().as_str(), "x", Code::NotFound),
        (&nobody, "t", Code::NotFound),
        ("nonsense", "t", Code::InvalidArgument),
        ("", "a/b", Code::InvalidArgument),
    ] {
        let refused = operator.kill_task(kill(framework, task)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{framework} {task}: {refused}");
    }
    drop(operator);
    cluster.master.stop().await;
}

#[tokio::test]
async fn a_framework_is_torn_down_and_explained() {
    let mut cluster = Cluster::with_frameworks(1).await;
    let mut operator = cluster.operator().await;
    let framework_id = cluster.schedulers[0].0.to_string();

    let explain = v1::ExplainRequest {
        shape: None,
        framework_id: framework_id.clone(),
    };
    let explained = operator
        .explain(explain.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(explained.blocked[0].rule, "filtered");

    let teardown = v1::TeardownFrameworkRequest { framework_id };
    operator.teardown_framework(teardown.clone()).await.unwrap();
    assert!(matches!(
        cluster.agent.command().await,
        AgentCommand::ShutdownFramework(_)
    ));
    let again = operator.teardown_framework(teardown).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
    let unknown = operator.explain(explain).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    drop(operator);
    cluster.master.stop().await;
}

#[tokio::test]
async fn watchers_get_a_snapshot_and_then_what_happens() {
    let mut cluster = Cluster::with_frameworks(1).await;
    let mut operator = cluster.operator().await;
    let mut events = operator
        .watch(v1::WatchRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut next = async || events.message().await.unwrap().expect("more").event;
    match next().await {
        Some(Event::Snapshot(state)) => assert_eq!(state.tasks.len(), 1),
        other => panic!("{other:?}"),
    }
    let (framework, scheduler) = &mut cluster.schedulers[0];
    let update = AgentEvent::Update {
        framework: *framework,
        status: status("t", TaskState::Running, 1),
        latest: TaskState::Running,
    };
    cluster.agent.say([update]).await;
    scheduler.update().await;
    match next().await {
        Some(Event::TaskUpdated(update)) => {
            let status = update.status.expect("always there");
            assert_eq!(status.state(), v1::TaskState::Running);
        }
        other => panic!("{other:?}"),
    }
    cluster.master.running.stop_token().cancel();
    let status = loop {
        match events.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a reason is given"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    drop((events, operator));
    cluster.master.stop().await;
}

#[tokio::test]
async fn health_and_reflection_are_served() {
    let master = TestMaster::start().await;
    let service = v1::scheduler_service_server::SERVICE_NAME.to_owned();
    let mut health = HealthClient::new(master.channel().await);
    let checked = health
        .check(HealthCheckRequest { service })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(checked.status(), ServingStatus::Serving);

    let mut client =
        reflection::server_reflection_client::ServerReflectionClient::new(master.channel().await);
    let list = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            reflection::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let mut answers = client
        .server_reflection_info(futures::stream::iter([list]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().expect("one answer");
    let Some(reflection::server_reflection_response::MessageResponse::ListServicesResponse(
        services,
    )) = answer.message_response
    else {
        panic!("{answer:?}");
    };
    let names: Vec<_> = services.service.into_iter().map(|s| s.name).collect();
    assert!(
        names.contains(&"nesos.v1.SchedulerService".to_owned()),
        "{names:?}"
    );
    drop((health, client, answers));
    master.stop().await;
}
