//! Policies over the wire: set, refused by name, told of to those who watch, kept over a restart.

use nesos_api::v1::bundle_service_client::BundleServiceClient;
use nesos_api::v1::operator_service_client::OperatorServiceClient;
use nesos_api::v1::set_policy_request::Policy;
use nesos_api::v1::watch_event::Event;
use nesos_artifacts::{policies, wasip1};
use tonic::Code;

use super::bundles::{chunks, digest_of, upload};
use super::*;

/// Asks for a policy that is among the bundles.
fn plugin(bytes: &[u8]) -> v1::SetPolicyRequest {
    v1::SetPolicyRequest {
        policy: Some(Policy::Plugin(v1::PolicyPlugin {
            name: "mine".to_owned(),
            digest: digest_of(bytes),
        })),
        preemption: None,
    }
}

async fn uploaded(channel: Channel, path: &str) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let mut client = BundleServiceClient::new(channel);
    upload(&mut client, chunks(&bytes, &bytes, 0))
        .await
        .unwrap();
    bytes
}

async fn set(
    operator: &mut OperatorServiceClient<Channel>,
    request: v1::SetPolicyRequest,
) -> Result<v1::PolicyState, Status> {
    let answer = operator.set_policy(request).await?.into_inner();
    Ok(answer.policy.expect("always there"))
}

#[tokio::test]
async fn a_policy_is_set_and_those_who_watch_hear_of_its_fault() {
    let master = TestMaster::start().await;
    let mut operator = OperatorServiceClient::new(master.channel().await);
    let mut events = operator
        .watch(v1::WatchRequest {
            without_snapshot: true,
        })
        .await
        .unwrap()
        .into_inner();
    let trap = uploaded(master.channel().await, policies::POLICY_TRAP).await;
    let policy = set(&mut operator, plugin(&trap)).await.unwrap();
    assert_eq!((policy.name.as_str(), policy.fault), ("mine", None));
    let mut scheduler = master.scheduler().await;
    scheduler.subscribe(None).await;
    let mut agents = Vec::new();
    for _ in 0..2 {
        let mut agent = master.agent().await;
        agent.register().await;
        agents.push(agent);
        scheduler.offer().await;
    }
    let mut told = Vec::new();
    while told.len() < 2 {
        let event = events.message().await.unwrap().expect("more").event;
        if let Some(Event::PolicyChanged(policy)) = event {
            told.push(policy.fault);
        }
    }
    assert_eq!(told[0], None);
    assert!(told[1].as_ref().is_some_and(|why| why.contains("trapped")));
    drop((events, operator, scheduler, agents));
    master.stop().await;
}

#[tokio::test]
async fn what_cannot_be_the_policy_is_refused() {
    let master = TestMaster::start().await;
    let mut operator = OperatorServiceClient::new(master.channel().await);
    let module = uploaded(master.channel().await, wasip1::HELLO).await;
    let built_in = |name: &str| v1::SetPolicyRequest {
        policy: Some(Policy::BuiltIn(name.to_owned())),
        preemption: None,
    };
    let grace_us = Some(7);
    let preemptive = |request: v1::SetPolicyRequest| v1::SetPolicyRequest {
        preemption: Some(v1::Preemption { grace_us }),
        ..request
    };
    for (request, code, said) in [
        (plugin(&module), Code::InvalidArgument, "a core module"),
        (plugin(b"?"), Code::NotFound, "upload it first"),
        (
            built_in("lottery"),
            Code::InvalidArgument,
            "drf and priority",
        ),
        (
            preemptive(built_in("drf")),
            Code::InvalidArgument,
            "only the policy",
        ),
        (
            preemptive(plugin(b"?")),
            Code::InvalidArgument,
            "only the policy",
        ),
        (
            v1::SetPolicyRequest::default(),
            Code::InvalidArgument,
            "say",
        ),
    ] {
        let status = set(&mut operator, request).await.unwrap_err();
        assert_eq!(status.code(), code);
        assert!(status.message().contains(said), "{status}");
    }
    let policy = set(&mut operator, built_in("priority")).await.unwrap();
    assert_eq!((policy.name.as_str(), policy.digest), ("priority", None));
    assert_eq!(policy.preemption, None);
    let request = preemptive(built_in("priority"));
    let policy = set(&mut operator, request).await.unwrap();
    assert_eq!(policy.preemption, Some(v1::Preemption { grace_us }));
    drop(operator);
    master.stop().await;
}

#[tokio::test]
async fn a_restarted_master_has_its_policy_or_says_why_not() {
    let directory = tempfile::tempdir().unwrap();
    let config = || MasterConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..MasterConfig::new(directory.path())
    };
    let start = async || {
        let running = Master::start(config()).await.unwrap();
        let channel = Channel::from_shared(running.url()).unwrap();
        (running, channel.connect().await.unwrap())
    };
    let (running, channel) = start().await;
    let drf = uploaded(channel.clone(), policies::DRF).await;
    let mut operator = OperatorServiceClient::new(channel);
    set(&mut operator, plugin(&drf)).await.unwrap();
    drop(operator);
    running.shutdown().await.unwrap();

    let blob = digest_of(&drf).replace("sha256:", "bundles/sha256/");
    for (lost, said) in [(false, None), (true, Some("upload it first"))] {
        if lost {
            fs::remove_file(directory.path().join(&blob)).unwrap();
        }
        let (running, channel) = start().await;
        let mut operator = OperatorServiceClient::new(channel);
        let state = operator
            .get_state(v1::GetStateRequest::default())
            .await
            .unwrap()
            .into_inner();
        let policy = state.master.and_then(|master| master.policy).unwrap();
        assert_eq!(policy.name, "mine");
        assert_eq!(policy.fault.is_some(), lost);
        assert!(said.is_none_or(|said| policy.fault.unwrap().contains(said)));
        drop(operator);
        running.shutdown().await.unwrap();
    }
}
