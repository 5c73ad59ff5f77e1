//! What a framework's author writes: a [`Scheduler`], and what it can do in return: [`Actions`].

use std::collections::BTreeSet;
use std::time::Duration;

use nesos_types::executor::Correspondent;
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId};
use nesos_types::message::{Refusal, SchedulerCall};
use nesos_types::offer::{Demand, Filters, Offer, Operation};
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, TaskReason, TaskState, TaskStatus};
use nesos_types::time::Time;

/// A framework's decisions.
///
/// The driver calls these methods one at a time, in the order in which things happened, from a task
/// of its own; none of them may block. What a method does through [`Actions`] is sent to the master
/// when the method and others that were due with it have returned, in one frame.
pub trait Scheduler: Send {
    /// What other parts of the program may tell the scheduler through a [`Handle`](crate::Handle).
    type Input: Send;

    /// The framework has its id. Keep it where it outlives this process: with it a later process
    /// takes the framework over, tasks and all.
    fn subscribed(&mut self, actions: &mut Actions, framework: FrameworkId) {
        let _ = (actions, framework);
    }

    /// Offers came. Each is held for this framework until it is accepted or declined, is rescinded,
    /// or the connection breaks.
    fn offers(&mut self, actions: &mut Actions, offers: Vec<Offer>);

    /// An offer is void.
    fn rescind(&mut self, actions: &mut Actions, offer: OfferId) {
        let _ = (actions, offer);
    }

    /// Something became of a task. The driver delivers each update once and acknowledges it when this
    /// method has returned, unless it was configured with explicit acknowledgements.
    ///
    /// Answers to a reconciliation come this way too and may repeat what is known.
    fn update(&mut self, actions: &mut Actions, status: TaskStatus);

    /// An agent was lost. Best effort; the statuses of its tasks are what counts.
    fn agent_lost(&mut self, actions: &mut Actions, agent: AgentId) {
        let _ = (actions, agent);
    }

    /// An executor or a task has sent bytes. At most once, in the order in which they were sent.
    fn message(
        &mut self,
        actions: &mut Actions,
        agent: AgentId,
        from: Correspondent,
        data: Vec<u8>,
    ) {
        let _ = (actions, agent, from, data);
    }

    /// A run of an executor is over. Best effort; the statuses of its tasks are what counts.
    fn executor_ended(
        &mut self,
        actions: &mut Actions,
        agent: AgentId,
        executor: ExecutorId,
        end: ExecutorEnd,
    ) {
        let _ = (actions, agent, executor, end);
    }

    /// A call was refused and changed nothing. Final refusals end the driver instead.
    fn refused(&mut self, actions: &mut Actions, refusal: Refusal) {
        let _ = (actions, refusal);
    }

    /// The connection broke: all offers are void, tasks go on. The driver reconnects by itself.
    fn disconnected(&mut self, actions: &mut Actions) {
        let _ = actions;
    }

    /// The connection is back. The driver asks for the state of all tasks by itself.
    fn reconnected(&mut self, actions: &mut Actions) {
        let _ = actions;
    }

    /// Another part of the program said something.
    fn input(&mut self, actions: &mut Actions, input: Self::Input);
}

/// How a run of an executor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorEnd {
    /// Finished, failed, killed or lost.
    pub state: TaskState,
    /// Why.
    pub reason: Option<TaskReason>,
    /// One line for a person; may be empty.
    pub message: String,
}

/// What a scheduler wants done. Gathered, and sent together.
#[derive(Debug, Default)]
pub struct Actions {
    calls: Vec<SchedulerCall>,
    stop: bool,
    now: Time,
}

impl Actions {
    /// The time, as the driver sees it: it never runs backwards.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Tells the time. For drivers, and for tests that drive a scheduler by hand.
    pub fn set_now(&mut self, now: Time) {
        self.now = now;
    }

    /// Does these operations with these offers, all of one agent and one role. What is left over is
    /// declined with the filters.
    pub fn accept(
        &mut self,
        offers: Vec<OfferId>,
        operations: Vec<Operation>,
        filters: Filters,
    ) -> &mut Self {
        self.call(SchedulerCall::Accept {
            offers,
            operations,
            filters,
        })
    }

    /// Launches tasks, each on its own, on one offer.
    pub fn launch(
        &mut self,
        offer: OfferId,
        tasks: Vec<SharedTask>,
        filters: Filters,
    ) -> &mut Self {
        self.accept(vec![offer], vec![Operation::Launch(tasks)], filters)
    }

    /// Turns offers down.
    pub fn decline(&mut self, offers: Vec<OfferId>, filters: Filters) -> &mut Self {
        self.call(SchedulerCall::Decline { offers, filters })
    }

    /// Says what the framework waits for, in place of what it said before: it is offered only agents on
    /// which something of it fits, and nothing once all of it was launched. The driver says it anew on
    /// each connection, less what was launched.
    pub fn request(&mut self, demands: Vec<Demand>) -> &mut Self {
        self.call(SchedulerCall::Request { demands })
    }

    /// Changes what the framework says of itself, and in which roles it wants no offers for now.
    pub fn update_framework(
        &mut self,
        info: FrameworkInfo,
        suppressed: BTreeSet<Role>,
    ) -> &mut Self {
        self.call(SchedulerCall::UpdateFramework { info, suppressed })
    }

    /// Wants offers again, in all roles, and forgets all filters.
    pub fn revive(&mut self) -> &mut Self {
        self.revive_roles(BTreeSet::new())
    }

    /// Wants offers again in these roles; none means all.
    pub fn revive_roles(&mut self, roles: BTreeSet<Role>) -> &mut Self {
        self.call(SchedulerCall::Revive { roles })
    }

    /// Wants no offers for now, in any role.
    pub fn suppress(&mut self) -> &mut Self {
        self.suppress_roles(BTreeSet::new())
    }

    /// Wants no offers for now in these roles; none means all.
    pub fn suppress_roles(&mut self, roles: BTreeSet<Role>) -> &mut Self {
        self.call(SchedulerCall::Suppress { roles })
    }

    /// Ends a task. `grace` overrides the task's own and can only shorten that of an earlier kill.
    pub fn kill(&mut self, task: TaskId, grace: Option<Duration>) -> &mut Self {
        self.call(SchedulerCall::Kill { task, grace })
    }

    /// Sends bytes to an executor, or to a task with a sandbox of its own: at most 64 KiB, at most once, in
    /// order. Dropped if there is no such guest or no connection.
    pub fn message(&mut self, agent: AgentId, to: Correspondent, data: Vec<u8>) -> &mut Self {
        self.call(SchedulerCall::Message { agent, to, data })
    }

    /// Ends an executor's run on an agent, and its tasks with it. `grace` overrides the executor's own.
    pub fn shutdown_executor(
        &mut self,
        agent: AgentId,
        executor: ExecutorId,
        grace: Option<Duration>,
    ) -> &mut Self {
        self.call(SchedulerCall::ShutdownExecutor {
            agent,
            executor,
            grace,
        })
    }

    /// Says that an update was dealt with; only for drivers with explicit acknowledgements. A status
    /// that needs none is ignored.
    pub fn acknowledge(&mut self, status: &TaskStatus) -> &mut Self {
        if let (Some(agent), Some(update)) = (status.agent, status.update) {
            self.call(SchedulerCall::Acknowledge {
                agent,
                task: status.task.clone(),
                update,
            });
        }
        self
    }

    /// Asks for the state of these tasks, or of all if there are none, beyond what the driver asks by
    /// itself.
    pub fn reconcile(&mut self, tasks: Vec<(TaskId, Option<AgentId>)>) -> &mut Self {
        self.call(SchedulerCall::Reconcile { tasks })
    }

    /// Ends the framework for good, tasks and all, and then the driver.
    pub fn teardown(&mut self) -> &mut Self {
        self.call(SchedulerCall::Teardown)
    }

    /// Ends the driver. The framework lives on until its failover timeout.
    pub fn stop(&mut self) -> &mut Self {
        self.stop = true;
        self
    }

    fn call(&mut self, call: SchedulerCall) -> &mut Self {
        self.calls.push(call);
        self
    }

    /// Takes the calls that were gathered, keeping the memory.
    pub fn drain(&mut self) -> impl Iterator<Item = SchedulerCall> + '_ {
        self.calls.drain(..)
    }

    /// Whether [`Actions::stop`] was called.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop
    }
}
