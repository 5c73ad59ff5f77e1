//! Agents that have nothing but a stream: they register, answer pings, and try again as real ones do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nesos_api::v1;
use nesos_api::v1::agent_service_client::AgentServiceClient;
use nesos_types::agent::AgentInfo;
use nesos_types::ids::AgentId;
use nesos_types::message::{AgentCommand, AgentEvent};
use nesos_types::resources::Resources;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

/// The pauses of an agent that finds no master.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Many of them.
pub(crate) struct Swarm {
    registrations: Arc<AtomicUsize>,
    _agents: JoinSet<()>,
}

impl Swarm {
    /// They end when this is dropped.
    pub(crate) fn start(url: &str, count: usize) -> Self {
        let registrations = Arc::<AtomicUsize>::default();
        let mut agents = JoinSet::new();
        for number in 0..count {
            let agent = Agent {
                id: None,
                number,
                registrations: registrations.clone(),
            };
            agents.spawn(agent.live(url.to_owned()));
        }
        Self {
            registrations,
            _agents: agents,
        }
    }

    /// How often any of them was taken.
    pub(crate) fn registrations(&self) -> usize {
        self.registrations.load(Ordering::Relaxed)
    }
}

struct Agent {
    id: Option<AgentId>,
    number: usize,
    registrations: Arc<AtomicUsize>,
}

impl Agent {
    async fn live(mut self, url: String) {
        let endpoint = Endpoint::from_shared(url).expect("the address of a master");
        let mut random = ChaCha8Rng::seed_from_u64(self.number as u64);
        let mut pause = BACKOFF_MIN;
        loop {
            if let Ok(channel) = endpoint.connect().await {
                let before = self.registrations();
                // That it broke is what is waited for.
                let _ = self.converse(channel).await;
                if self.registrations() > before {
                    pause = BACKOFF_MIN;
                }
            }
            tokio::time::sleep(pause.mul_f64(random.random_range(0.5..=1.0))).await;
            pause = (pause * 2).min(BACKOFF_MAX);
        }
    }

    fn registrations(&self) -> usize {
        self.registrations.load(Ordering::Relaxed)
    }

    async fn converse(&mut self, channel: Channel) -> Result<(), tonic::Status> {
        let (events, queue) = mpsc::channel(4);
        say(&events, &self.register()).await;
        let mut client = AgentServiceClient::new(channel);
        let mut commands = client
            .converse(ReceiverStream::new(queue))
            .await?
            .into_inner();
        while let Some(frame) = commands.message().await? {
            for command in frame.commands {
                match AgentCommand::try_from(command) {
                    Ok(AgentCommand::Registered { agent, .. }) => {
                        self.id = Some(agent);
                        self.registrations.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(AgentCommand::Ping) => say(&events, &AgentEvent::Pong).await,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn register(&self) -> AgentEvent {
        let resources = Resources::new(4000, 8 << 30);
        AgentEvent::Register {
            agent: self.id,
            info: AgentInfo::new(format!("host-{}", self.number), resources),
            tasks: Vec::new(),
        }
    }
}

/// A stream that is closed is about to be seen to be.
async fn say(events: &mpsc::Sender<v1::AgentEvents>, event: &AgentEvent) {
    let events_of_one = vec![event.into()];
    let frame = v1::AgentEvents {
        events: events_of_one,
    };
    let _ = events.send(frame).await;
}
