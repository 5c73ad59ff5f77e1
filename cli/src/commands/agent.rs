//! `nesos agent`: an agent in the foreground.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use nesos_agent::{Agent as Service, AgentConfig};
use nesos_types::resources::Resources;

use crate::cluster::default_state_directory;
use crate::failure::Failure;
use crate::output;
use crate::run::conduct::Signals;
use crate::settings::Settings;

/// Runs an agent in the foreground
///
/// SIGINT makes it leave the cluster: its tasks are ended. SIGTERM ends the agent alone: its tasks run
/// on in their cells, and an agent that is started on the same state directory soon after takes them
/// over. Logs go to stderr; `NESOS_LOG` sets how much is logged.
#[derive(Debug, Args)]
pub(crate) struct Agent {
    /// A configuration file; options given here win over it
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Where checkpoint, sandboxes and caches are kept
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The master; of several, all or some of them behind commas [default: 127.0.0.1:5050]
    #[arg(long, env = "NESOS_MASTER", value_name = "URL[,URL…]")]
    master: Option<String>,
    /// Where to listen for clients of tasks [default: 127.0.0.1:5051]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// How others reach this agent, if not by that address
    #[arg(long, value_name = "URL")]
    advertise_url: Option<String>,
    /// What the agent has to give, where it is not what the machine has
    #[arg(long, value_name = "cpus:4;mem:4GiB;disk:10GiB")]
    resources: Option<String>,
    /// Let tasks mount directories of this host
    #[arg(long)]
    host_mounts: bool,
    /// Offer CPU that tasks have accepted and do not use to frameworks that can be pushed aside
    #[arg(long)]
    oversubscribe: bool,
}

impl Agent {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let config = self.settings()?;
        nesos_agent::raise_descriptor_limit();
        let mut signals = Signals::listen()?;
        let agent = Service::start(config).await?;
        output::line(format_args!("agent at {}", agent.url()))?;
        let stop = agent.stop_token();
        let detach = agent.detach_token();
        let ended = agent.wait();
        tokio::pin!(ended);
        tokio::select! {
            ended = &mut ended => {
                ended?;
                Err(Failure::said("the agent has stopped"))
            }
            signal = signals.next() => {
                if signal.name == "SIGINT" { stop.cancel() } else { detach.cancel() }
                ended.await?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }

    fn settings(&self) -> Result<AgentConfig, Failure> {
        let mut settings = Settings::load(self.config.as_deref())?;
        settings.set("master", self.master.clone().filter(|url| !url.is_empty()));
        settings.set("listen", self.listen.map(|address| address.to_string()));
        settings.set("advertise_url", self.advertise_url.clone());
        settings.set("resources", self.resources.clone());
        settings.set("host_mounts", self.host_mounts.then_some(true));
        let oversubscribe = self.oversubscribe.then_some(true);
        settings.set_in("oversubscription", "enabled", oversubscribe);
        settings.set_state_directory(self.state_dir.as_deref(), || {
            default_state_directory("agent")
        });
        settings.read()
    }
}

/// Resources on a command line.
pub(super) fn resources(text: &str) -> Result<Resources, String> {
    text.parse()
        .map_err(|error: nesos_types::resources::ResourcesError| error.to_string())
}
