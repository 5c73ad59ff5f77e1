//! What a person or a tool asks a master. Thin: the answers are the wire's own types, because the
//! reader shows them rather than decides by them.

use nesos_api::v1;
use nesos_api::v1::operator_service_client::OperatorServiceClient;
use nesos_types::bundle::{Digest, Repository};
use nesos_types::ids::{AgentId, FrameworkId};
use nesos_types::reservation::ReservationChange;
use nesos_types::resources::Resources;
use nesos_types::role::RoleChange;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// The operator interface of a master.
#[derive(Clone, Debug)]
pub struct Operator {
    client: OperatorServiceClient<Channel>,
}

/// A state of a large cluster is larger than one frame of a conversation.
const MAX_STATE_BYTES: usize = 256 << 20;

impl Operator {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            client: OperatorServiceClient::new(channel).max_decoding_message_size(MAX_STATE_BYTES),
        }
    }

    /// Everything at one moment, or the parts that are named.
    ///
    /// # Errors
    /// If the master does not answer.
    pub async fn state(&mut self, parts: &[v1::StatePart]) -> Result<v1::State, Status> {
        let request = v1::GetStateRequest {
            parts: parts.iter().map(|part| (*part).into()).collect(),
        };
        Ok(self.client.get_state(request).await?.into_inner())
    }

    /// A snapshot, then what happens, as it happens.
    ///
    /// # Errors
    /// If the master does not answer.
    pub async fn watch(
        &mut self,
        without_snapshot: bool,
    ) -> Result<Streaming<v1::WatchEvent>, Status> {
        let request = v1::WatchRequest { without_snapshot };
        Ok(self.client.watch(request).await?.into_inner())
    }

    /// Ends a task of any framework and answers which one it was.
    ///
    /// # Errors
    /// If there is no such task, or several where no framework was named.
    pub async fn kill(&mut self, request: v1::OperatorKillRequest) -> Result<v1::TaskKey, Status> {
        let answer = self.client.kill_task(request).await?.into_inner();
        answer
            .key
            .ok_or_else(|| Status::internal("the master did not say which task it told to end"))
    }

    /// Changes weights, priorities and quotas of roles: all of the changes, or none.
    ///
    /// # Errors
    /// If one of them cannot be made; the message says which, and what stands in the way.
    pub async fn change_roles(
        &mut self,
        changes: &[RoleChange],
        force: bool,
    ) -> Result<(), Status> {
        let request = v1::ChangeRolesRequest {
            changes: changes.iter().map(Into::into).collect(),
            force,
        };
        self.client.change_roles(request).await?;
        Ok(())
    }

    /// Has agents fetch and compile a bundle before the first task of it comes; all that are connected if none
    /// is named. Answers how many were told.
    ///
    /// # Errors
    /// If one that is named is not connected; then none is told.
    pub async fn prewarm(
        &mut self,
        repository: Option<&Repository>,
        bundle: Digest,
        agents: &[AgentId],
    ) -> Result<u32, Status> {
        let request = v1::PrewarmBundleRequest {
            repository: repository.map(ToString::to_string).unwrap_or_default(),
            digest: bundle.to_string(),
            agent_ids: agents.iter().map(ToString::to_string).collect(),
        };
        Ok(self
            .client
            .prewarm_bundle(request)
            .await?
            .into_inner()
            .agents)
    }

    /// Removes bundles that nobody needs from the cluster's registry, or only says which those are.
    ///
    /// # Errors
    /// If the master does not know yet what tasks run.
    pub async fn collect_bundles(
        &mut self,
        dry_run: bool,
    ) -> Result<v1::CollectBundlesResponse, Status> {
        let request = v1::CollectBundlesRequest { dry_run };
        Ok(self.client.collect_bundles(request).await?.into_inner())
    }

    /// Sets resources of an agent apart, or gives them back.
    ///
    /// # Errors
    /// If that cannot be done; the message says which field is at fault.
    pub async fn change_reservations(
        &mut self,
        agent: AgentId,
        change: &ReservationChange,
    ) -> Result<(), Status> {
        let request = v1::ChangeReservationsRequest {
            agent_id: agent.to_string(),
            change: Some(change.into()),
        };
        self.client.change_reservations(request).await?;
        Ok(())
    }

    /// Orders something about an agent: to offer nothing of it, to end its tasks, to take it for dead. Answers
    /// before it is done; the state of the cluster says how far it is.
    ///
    /// # Errors
    /// If there is no such agent, or if it is to be made active while it is being drained.
    pub async fn order_agent(
        &mut self,
        agent: AgentId,
        order: v1::order_agent_request::Order,
    ) -> Result<(), Status> {
        let request = v1::OrderAgentRequest {
            agent_id: agent.to_string(),
            order: Some(order),
        };
        self.client.order_agent(request).await?;
        Ok(())
    }

    /// Lets another policy decide in which order frameworks are served. With a preemption, which goes with
    /// strict priority only, tasks are ended for demands of higher priority.
    ///
    /// # Errors
    /// If there is no such policy; the message says what is wrong with a plug-in.
    pub async fn set_policy(
        &mut self,
        policy: v1::set_policy_request::Policy,
        preemption: Option<v1::Preemption>,
    ) -> Result<v1::PolicyState, Status> {
        let request = v1::SetPolicyRequest {
            policy: Some(policy),
            preemption,
        };
        let answer = self.client.set_policy(request).await?.into_inner();
        answer
            .policy
            .ok_or_else(|| Status::internal("the master did not say which policy it has set"))
    }

    /// Ends a framework for good.
    ///
    /// # Errors
    /// If there is no such framework.
    pub async fn teardown(&mut self, framework: FrameworkId) -> Result<(), Status> {
        let request = v1::TeardownFrameworkRequest {
            framework_id: framework.to_string(),
        };
        self.client.teardown_framework(request).await?;
        Ok(())
    }

    /// Why a framework waits.
    ///
    /// # Errors
    /// If there is no such framework.
    pub async fn explain(
        &mut self,
        framework: FrameworkId,
        shape: Option<&Resources>,
    ) -> Result<v1::ExplainResponse, Status> {
        let request = v1::ExplainRequest {
            framework_id: framework.to_string(),
            shape: shape.map(Into::into),
        };
        Ok(self.client.explain(request).await?.into_inner())
    }
}
