//! Which bundles this agent has compiled, so that schedulers can send a task where it starts at once. The
//! master hears of all of them when it takes a registration, and of changes from then on.

use std::collections::BTreeSet;

use nesos_types::bundle::Digest;
use nesos_types::message::AgentEvent;

use crate::agent::Agent;
use crate::decision::{Decisions, Effect};

/// What is compiled, and what of it the master knows.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    here: BTreeSet<Digest>,
    told: BTreeSet<Digest>,
}

impl Agent {
    /// The cache of compiled bundles holds these now.
    pub(crate) fn on_compiled(&mut self, here: BTreeSet<Digest>, out: &mut Decisions) {
        self.compiled.here = here;
        self.tell_compiled(out);
    }

    /// A master that has taken a registration knows of no compiled bundle.
    pub(crate) fn tell_compiled_anew(&mut self, out: &mut Decisions) {
        self.compiled.told.clear();
        self.tell_compiled(out);
    }

    fn tell_compiled(&mut self, out: &mut Decisions) {
        let Compiled { here, told } = &mut self.compiled;
        if !self.master.is_registered() || here == told {
            return;
        }
        let event = AgentEvent::Bundles {
            compiled: here.difference(told).copied().collect(),
            dropped: told.difference(here).copied().collect(),
        };
        told.clone_from(here);
        out.push(Effect::SendMaster(event));
    }
}
