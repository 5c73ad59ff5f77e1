//! Bundles that operators expect tasks of: agents are told to fetch and compile them. Nothing of it is kept: an
//! agent that is not connected is not told later.

use nesos_types::bundle::{Digest, Repository};
use nesos_types::ids::AgentId;
use nesos_types::message::AgentCommand;

use crate::decision::{Decisions, OperatorReply};
use crate::event::ConnectionId;
use crate::master::Master;

impl Master {
    /// Tells these agents, or all; all of those that are named, or none.
    pub(crate) fn on_prewarm(
        &self,
        repository: Option<&Repository>,
        bundle: Digest,
        agents: &[AgentId],
        out: &mut Decisions,
    ) -> OperatorReply {
        let connections = match self.connections_of(agents) {
            Ok(connections) => connections,
            Err(agent) => return OperatorReply::AgentUnknown(agent),
        };
        for connection in &connections {
            let repository = repository.cloned();
            out.tell_agent(*connection, AgentCommand::Prewarm { bundle, repository });
        }
        OperatorReply::Prewarming(u32::try_from(connections.len()).unwrap_or(u32::MAX))
    }

    fn connections_of(&self, agents: &[AgentId]) -> Result<Vec<ConnectionId>, AgentId> {
        if agents.is_empty() {
            let all = self.agents.iter();
            return Ok(all.filter_map(|(_, agent)| agent.connection()).collect());
        }
        let connection = |id: &AgentId| {
            let agent = self.agents.find(*id).map(|slot| &self.agents[slot]);
            agent.and_then(crate::agents::Agent::connection).ok_or(*id)
        };
        agents.iter().map(connection).collect()
    }
}
