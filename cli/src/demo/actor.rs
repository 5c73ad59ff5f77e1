//! A framework on the stage: it tells the director everything and does what the director says.

use nesos_sdk::{Actions, Scheduler};
use nesos_types::ids::{FrameworkId, OfferId};
use nesos_types::offer::{Filters, Offer};
use nesos_types::task::{SharedTask, TaskStatus};
use tokio::sync::mpsc;

/// Which of the two frameworks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    One,
    Two,
}

impl Who {
    /// As the audience knows it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::One => "framework 1",
            Self::Two => "framework 2",
        }
    }
}

/// What happened to a framework.
#[derive(Debug)]
pub(super) enum Cue {
    Subscribed(FrameworkId),
    Offered(Offer),
    Update(TaskStatus),
}

/// What a framework is to do.
#[derive(Debug)]
pub(super) enum Line {
    Launch(OfferId, Vec<SharedTask>),
    Decline(OfferId, Filters),
    Leave,
}

/// A scheduler without a will of its own.
#[derive(Debug)]
pub(super) struct Actor {
    who: Who,
    cues: mpsc::UnboundedSender<(Who, Cue)>,
}

impl Actor {
    pub(super) fn new(who: Who, cues: mpsc::UnboundedSender<(Who, Cue)>) -> Self {
        Self { who, cues }
    }

    /// The director may have left: then the play is over.
    fn tell(&self, cue: Cue) {
        let _ = self.cues.send((self.who, cue));
    }
}

impl Scheduler for Actor {
    type Input = Line;

    fn subscribed(&mut self, _: &mut Actions, framework: FrameworkId) {
        self.tell(Cue::Subscribed(framework));
    }

    fn offers(&mut self, _: &mut Actions, offers: Vec<Offer>) {
        for offer in offers {
            self.tell(Cue::Offered(offer));
        }
    }

    fn update(&mut self, _: &mut Actions, status: TaskStatus) {
        self.tell(Cue::Update(status));
    }

    fn input(&mut self, actions: &mut Actions, line: Line) {
        match line {
            Line::Launch(offer, tasks) => actions.launch(offer, tasks, Filters::default()),
            Line::Decline(offer, filters) => actions.decline(vec![offer], filters),
            Line::Leave => actions.teardown(),
        };
    }
}
