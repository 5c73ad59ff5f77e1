//! What a framework says of itself and wants, as far as its master has not refused it: what it subscribes
//! with, today and after a disconnect. It does not know the stream that carries it.

use std::collections::{BTreeSet, VecDeque};

use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::FrameworkId;
use nesos_types::message::SchedulerCall;
use nesos_types::offer::Demand;
use nesos_types::resources::Resources;
use nesos_types::role::Role;

/// What a refusal of a change of the description names as the call.
pub(super) const UPDATE: &str = "UpdateFramework";

/// How far a call gets now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The next subscription is still to be made.
    Away,
    /// A subscription is under way that nothing can be added to.
    Subscribing,
    /// The stream is open.
    Subscribed,
}

/// Whether a call changes what is kept here.
pub(super) fn is_of(call: &SchedulerCall) -> bool {
    matches!(
        call,
        SchedulerCall::UpdateFramework { .. }
            | SchedulerCall::Suppress { .. }
            | SchedulerCall::Revive { .. }
            | SchedulerCall::Request { .. }
    )
}

/// What a framework says of itself and wants.
///
/// A change of the description holds once the master has taken it. Until then the framework subscribes
/// with the one before: one that the master refuses must not keep it out. Changes behind it wait, because
/// what they mean depends on the answer.
#[derive(Debug)]
pub(super) struct Profile {
    info: FrameworkInfo,
    suppressed: BTreeSet<Role>,
    /// What the scheduler waits for, if it ever said.
    demands: Option<Vec<Demand>>,
    /// Changes to be made, in order.
    waiting: VecDeque<SchedulerCall>,
    /// Whether the first of them was sent on this stream and has no answer yet.
    asked: bool,
}

impl Profile {
    pub(super) fn new(info: FrameworkInfo, suppressed: BTreeSet<Role>) -> Self {
        Self {
            info,
            suppressed,
            demands: None,
            waiting: VecDeque::new(),
            asked: false,
        }
    }

    /// The call that opens a stream.
    pub(super) fn subscription(&mut self, framework: Option<FrameworkId>) -> SchedulerCall {
        self.asked = false;
        SchedulerCall::Subscribe {
            framework,
            info: self.info.clone(),
            suppressed: self.suppressed.clone(),
        }
    }

    /// What to say when the subscription was taken.
    pub(super) fn resume(&mut self) -> Vec<SchedulerCall> {
        let demands = self.demands.clone();
        let request = demands.map(|demands| SchedulerCall::Request { demands });
        request.into_iter().chain(self.go_on()).collect()
    }

    /// The scheduler wants a change. Answers what to send now.
    pub(super) fn change(&mut self, call: SchedulerCall, stage: Stage) -> Vec<SchedulerCall> {
        self.waiting.push_back(call);
        match stage {
            Stage::Subscribed => return self.go_on(),
            // What was said before it is subscribed goes with the subscription.
            Stage::Away => drop(self.apply_first()),
            Stage::Subscribing => {}
        }
        Vec::new()
    }

    /// The master has taken or refused the change of the description that it was asked for.
    pub(super) fn on_answer(&mut self, taken: bool) -> Vec<SchedulerCall> {
        if !std::mem::take(&mut self.asked) {
            return Vec::new();
        }
        match self.waiting.pop_front() {
            Some(SchedulerCall::UpdateFramework { info, suppressed }) if taken => {
                self.info = info;
                self.suppressed = suppressed;
            }
            _ => {}
        }
        self.go_on()
    }

    /// As the master does: a launch takes one off the demand for exactly its resources. In which of
    /// several roles it was, only the master knows; the first that fits is right where it matters.
    pub(super) fn on_launch(&mut self, resources: &Resources) {
        let Some(demands) = &mut self.demands else {
            return;
        };
        let met = demands
            .iter()
            .position(|demand| demand.resources == *resources);
        if let Some(at) = met {
            // Whatever the scheduler wrote there: one that counts nothing is the master's to refuse.
            demands[at].count = demands[at].count.saturating_sub(1);
            if demands[at].count == 0 {
                demands.remove(at);
            }
        }
    }

    /// Makes the changes up to the next one that the master has to answer, which is asked for.
    fn go_on(&mut self) -> Vec<SchedulerCall> {
        if self.asked {
            return Vec::new();
        }
        let mut calls = self.apply_first();
        if let Some(update) = self.waiting.front() {
            calls.push(update.clone());
            self.asked = true;
        }
        calls
    }

    /// Makes the changes that need no answer and have nothing before them that does.
    fn apply_first(&mut self) -> Vec<SchedulerCall> {
        let needs_answer = |call| matches!(call, &SchedulerCall::UpdateFramework { .. });
        let end = self.waiting.iter().position(needs_answer);
        let end = end.unwrap_or(self.waiting.len());
        let made: Vec<_> = self.waiting.drain(..end).collect();
        for call in &made {
            self.apply(call);
        }
        made
    }

    /// Makes a change that needs no answer. One that names other roles than the framework's is refused
    /// as a whole, and changes nothing here either.
    fn apply(&mut self, call: &SchedulerCall) {
        match call {
            SchedulerCall::Suppress { roles } if roles.is_empty() => {
                self.suppressed = self.info.roles.clone();
            }
            SchedulerCall::Suppress { roles } if roles.is_subset(&self.info.roles) => {
                self.suppressed.extend(roles.iter().cloned());
            }
            SchedulerCall::Revive { roles } if roles.is_empty() => self.suppressed.clear(),
            SchedulerCall::Revive { roles } if roles.is_subset(&self.info.roles) => {
                self.suppressed.retain(|role| !roles.contains(role));
            }
            SchedulerCall::Request { demands } => self.demands = Some(demands.clone()),
            _ => {}
        }
    }
}
