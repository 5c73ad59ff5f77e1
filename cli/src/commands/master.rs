//! `nesos master`: a master in the foreground.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use nesos_master::{Master as Service, MasterConfig, StoreAddress};

use crate::cluster::default_state_directory;
use crate::failure::Failure;
use crate::output;
use crate::run::conduct::Signals;
use crate::settings::Settings;

/// Runs a master in the foreground
///
/// Of several masters on one etcd one leads; the others stand by, point clients to it, and take over when it is
/// gone. Ends gracefully on SIGINT and SIGTERM. Logs go to stderr; `NESOS_LOG` sets how much is logged.
#[derive(Debug, Args)]
pub(crate) struct Master {
    /// A configuration file; options given here win over it
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Where the registry and the bundles are kept
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where to listen [default: 127.0.0.1:5050]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where the registry is kept: redb, in the state directory; or, for several masters of which one leads,
    /// `etcd://HOST:PORT[,HOST:PORT…][/PREFIX]` [default: redb]
    #[arg(long, value_name = "STORE")]
    store: Option<StoreAddress>,
    /// Where others reach this master, if not at the address it listens on
    #[arg(long, value_name = "URL")]
    advertise: Option<String>,
    /// Resources that count for no share, as `gpus,disk`; quotas go by them all the same
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    fair_sharing_exclude: Option<Vec<String>>,
}

impl Master {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let config = self.settings()?;
        nesos_agent::raise_descriptor_limit();
        let mut signals = Signals::listen()?;
        let master = Service::start(config).await?;
        output::line(format_args!("master at {}", master.url()))?;
        let stop = master.stop_token();
        let ended = master.wait();
        tokio::pin!(ended);
        tokio::select! {
            ended = &mut ended => {
                ended?;
                Err(Failure::said("the master has stopped"))
            }
            _ = signals.next() => {
                stop.cancel();
                ended.await?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }

    fn settings(&self) -> Result<MasterConfig, Failure> {
        let mut settings = Settings::load(self.config.as_deref())?;
        settings.set("listen", self.listen.map(|address| address.to_string()));
        settings.set("store", self.store.as_ref().map(ToString::to_string));
        settings.set("advertise", self.advertise.clone());
        let excluded = self.fair_sharing_exclude.clone();
        settings.set_in("allocation", "fair_sharing_excluded", excluded);
        settings.set_state_directory(self.state_dir.as_deref(), || {
            default_state_directory("master")
        });
        settings.read()
    }
}
