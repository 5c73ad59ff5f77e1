//! The operators' door: who is here, what runs, what happens, and the few things that an operator may
//! ask for.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use nesos_api::v1;
use nesos_api::v1::operator_service_server::OperatorService;
use nesos_master_core::{AgentOrder, OperatorReply, OperatorRequest, Snapshot};
use nesos_types::agent::Drain;
use nesos_types::ids::{FrameworkId, TaskId, TaskKey};
use nesos_types::reservation::ReservationChange;
use nesos_types::resources::Resources;
use nesos_types::role::RoleChange;
use nesos_types::time::Time;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::clock::Clock;
use crate::driver::input::{DriverHandle, Stopping};
use crate::registry::Registry;

pub(crate) mod bundles;
mod explain;
mod policy;
mod state;
mod watch;

/// Serves `OperatorService`.
#[derive(Debug)]
pub(crate) struct OperatorDoor {
    pub(crate) driver: DriverHandle,
    pub(crate) clock: Clock,
    /// Bundles, policies among them.
    pub(crate) registry: Registry,
    /// Cancelled when watching is over.
    pub(crate) stop: CancellationToken,
}

#[tonic::async_trait]
impl OperatorService for OperatorDoor {
    async fn get_state(
        &self,
        request: Request<v1::GetStateRequest>,
    ) -> Result<Response<v1::State>, Status> {
        let parts = state::Parts::selected(request.get_ref())?;
        let snapshot = self.driver.snapshot().await?;
        Ok(Response::new(state::state(
            &snapshot,
            parts,
            self.started(),
        )))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchEvent, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let with_snapshot = !request.get_ref().without_snapshot;
        let watching = self.driver.watch().await?;
        let events = watch::events(watching, with_snapshot, self.started(), self.stop.clone());
        Ok(Response::new(Box::pin(events)))
    }

    async fn kill_task(
        &self,
        request: Request<v1::OperatorKillRequest>,
    ) -> Result<Response<v1::OperatorKillResponse>, Status> {
        let request = request.into_inner();
        let task: TaskId = parse("task_id", &request.task_id)?;
        let framework = if request.framework_id.is_empty() {
            framework_of(&*self.driver.snapshot().await?, &task)?
        } else {
            parse("framework_id", &request.framework_id)?
        };
        let kill = OperatorRequest::KillTask {
            framework,
            task: task.clone(),
            grace: request.grace_us.map(Duration::from_micros),
        };
        done(self.driver.operate(kill).await?, Some(&task))?;
        let key = TaskKey { framework, task };
        Ok(Response::new(v1::OperatorKillResponse {
            key: Some((&key).into()),
        }))
    }

    async fn teardown_framework(
        &self,
        request: Request<v1::TeardownFrameworkRequest>,
    ) -> Result<Response<v1::TeardownFrameworkResponse>, Status> {
        let framework = parse("framework_id", &request.get_ref().framework_id)?;
        let teardown = OperatorRequest::TeardownFramework(framework);
        done(self.driver.operate(teardown).await?, None)?;
        Ok(Response::new(v1::TeardownFrameworkResponse {}))
    }

    async fn change_roles(
        &self,
        request: Request<v1::ChangeRolesRequest>,
    ) -> Result<Response<v1::ChangeRolesResponse>, Status> {
        let request = request.into_inner();
        let changes = request.changes.into_iter().map(RoleChange::try_from);
        let change = OperatorRequest::ChangeRoles {
            changes: changes
                .collect::<Result<_, _>>()
                .map_err(|error| Status::invalid_argument(error.to_string()))?,
            force: request.force,
        };
        done(self.driver.operate(change).await?, None)?;
        Ok(Response::new(v1::ChangeRolesResponse {}))
    }

    async fn prewarm_bundle(
        &self,
        request: Request<v1::PrewarmBundleRequest>,
    ) -> Result<Response<v1::PrewarmBundleResponse>, Status> {
        let request = request.into_inner();
        let named = (!request.repository.is_empty()).then_some(&*request.repository);
        let agents = request.agent_ids.iter();
        let prewarm = OperatorRequest::PrewarmBundle {
            repository: named.map(|name| parse("repository", name)).transpose()?,
            bundle: parse("digest", &request.digest)?,
            agents: agents
                .map(|id| parse("agent_ids", id))
                .collect::<Result<_, _>>()?,
        };
        match self.driver.operate(prewarm).await? {
            OperatorReply::Prewarming(agents) => {
                Ok(Response::new(v1::PrewarmBundleResponse { agents }))
            }
            reply => Err(done(reply, None)
                .err()
                .unwrap_or_else(|| Status::internal("another reply"))),
        }
    }

    async fn change_reservations(
        &self,
        request: Request<v1::ChangeReservationsRequest>,
    ) -> Result<Response<v1::ChangeReservationsResponse>, Status> {
        let request = request.into_inner();
        let change = request
            .change
            .ok_or_else(|| Status::invalid_argument("change is missing"))?;
        let change = OperatorRequest::ChangeReservations {
            agent: parse("agent_id", &request.agent_id)?,
            change: ReservationChange::try_from(change)
                .map_err(|error| Status::invalid_argument(error.to_string()))?,
        };
        done(self.driver.operate(change).await?, None)?;
        Ok(Response::new(v1::ChangeReservationsResponse {}))
    }

    async fn order_agent(
        &self,
        request: Request<v1::OrderAgentRequest>,
    ) -> Result<Response<v1::OrderAgentResponse>, Status> {
        let request = request.into_inner();
        let agent = parse("agent_id", &request.agent_id)?;
        let order = request
            .order
            .ok_or_else(|| Status::invalid_argument("order is missing"))?;
        let order = OperatorRequest::OrderAgent {
            agent,
            order: ordered(&order),
        };
        match self.driver.operate(order).await? {
            OperatorReply::AgentUnknown(agent) => Err(Status::not_found(format!(
                "there is no agent {agent}, or none any more"
            ))),
            reply => done(reply, None),
        }?;
        Ok(Response::new(v1::OrderAgentResponse {}))
    }

    async fn set_policy(
        &self,
        request: Request<v1::SetPolicyRequest>,
    ) -> Result<Response<v1::SetPolicyResponse>, Status> {
        let requested = policy::requested(request.into_inner(), &self.registry.blobs).await?;
        let view = self.driver.set_policy(requested).await?;
        Ok(Response::new(v1::SetPolicyResponse {
            policy: Some(policy::state(&view)),
        }))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let request = request.into_inner();
        let framework = parse("framework_id", &request.framework_id)?;
        let shape = request.shape.map(Resources::try_from).transpose();
        let shape = shape.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let explanation = self.driver.explain(framework, shape).await?;
        explain::response(&explanation, self.clock.now()).map(Response::new)
    }

    async fn collect_bundles(
        &self,
        request: Request<v1::CollectBundlesRequest>,
    ) -> Result<Response<v1::CollectBundlesResponse>, Status> {
        let snapshot = self.driver.snapshot().await?;
        let dry_run = request.get_ref().dry_run;
        bundles::collect(&self.registry, &snapshot, dry_run)
            .await
            .map(Response::new)
    }

    async fn inspect_bundle(
        &self,
        request: Request<v1::InspectBundleRequest>,
    ) -> Result<Response<v1::InspectBundleResponse>, Status> {
        bundles::inspect(&self.registry, request.get_ref())
            .await
            .map(Response::new)
    }

    async fn list_bundles(
        &self,
        request: Request<v1::ListBundlesRequest>,
    ) -> Result<Response<v1::ListBundlesResponse>, Status> {
        Ok(Response::new(bundles::list(
            &self.registry,
            request.get_ref(),
        )))
    }
}

impl OperatorDoor {
    fn started(&self) -> Time {
        self.clock.started_at()
    }
}

impl From<Stopping> for Status {
    fn from(stopping: Stopping) -> Self {
        Self::unavailable(stopping.to_string())
    }
}

fn parse<T>(field: &str, text: &str) -> Result<T, Status>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error: T::Err| Status::invalid_argument(format!("{field}: {error}")))
}

/// The framework of a task that was named without one.
fn framework_of(snapshot: &Snapshot, task: &TaskId) -> Result<FrameworkId, Status> {
    let owners: Vec<_> = snapshot
        .frameworks
        .iter()
        .filter(|framework| {
            let live = |view: &nesos_master_core::snapshot::TaskView| {
                view.id == *task && !view.state.is_terminal()
            };
            let runs = framework.executors.iter().map(|executor| &executor.run);
            framework.tasks.iter().chain(runs).any(live)
        })
        .map(|framework| framework.id)
        .collect();
    match owners[..] {
        [owner] => Ok(owner),
        [] => Err(task_unknown(task)),
        _ => {
            let owners: Vec<_> = owners.iter().map(ToString::to_string).collect();
            Err(Status::failed_precondition(format!(
                "{} frameworks have a live task {task}; say which one is meant: {}",
                owners.len(),
                owners.join(", ")
            )))
        }
    }
}

fn task_unknown(task: &TaskId) -> Status {
    Status::not_found(format!("there is no live task {task}"))
}

fn ordered(order: &v1::order_agent_request::Order) -> AgentOrder {
    use v1::order_agent_request::Order;
    match order {
        Order::Deactivate(_) => AgentOrder::Deactivate,
        Order::Reactivate(_) => AgentOrder::Reactivate,
        Order::Gone(_) => AgentOrder::Gone,
        Order::Drain(drain) => AgentOrder::Drain(Drain {
            grace: drain.grace_us.map(Duration::from_micros),
            mark_gone: drain.mark_gone,
        }),
    }
}

fn done(reply: OperatorReply, task: Option<&TaskId>) -> Result<(), Status> {
    match (reply, task) {
        (OperatorReply::Done | OperatorReply::Prewarming(_), _) => Ok(()),
        (OperatorReply::AgentUnknown(agent), _) => {
            Err(Status::not_found(format!("no agent {agent} is connected")))
        }
        (OperatorReply::AgentDraining(agent), _) => Err(Status::failed_precondition(format!(
            "agent {agent} is being drained; it can be made active again when it is drained"
        ))),
        (OperatorReply::TaskUnknown, Some(task)) => Err(task_unknown(task)),
        (OperatorReply::TaskUnknown, None) => Err(Status::not_found("there is no such live task")),
        (OperatorReply::RolesRefused(refusal), _) => {
            Err(Status::failed_precondition(refusal.to_string()))
        }
        (OperatorReply::ReservationRefused(refusal), _) => {
            Err(Status::failed_precondition(refusal.to_string()))
        }
        (OperatorReply::FrameworkUnknown(framework), _) => Err(framework_unknown(framework)),
    }
}

fn framework_unknown(framework: FrameworkId) -> Status {
    Status::not_found(format!("there is no live framework {framework}"))
}
