//! One of several masters: it stands by until it is elected, leads until it is stopped or deposed, and
//! stands by again, all in one process.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::reign::Recovered;
use super::server::Port;
use super::standing::Standing;
use super::{MasterError, StartError};
use crate::config::MasterConfig;
use crate::driver::DriverError;
use crate::store::StoreError;
use crate::store::etcd::election::{Candidate, Outcome, Reign};

/// How long to wait before an etcd is asked again that did not answer; it grows, and is never the same.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// One of several masters.
pub(super) struct Candidacy {
    pub(super) config: MasterConfig,
    pub(super) candidate: Candidate,
    pub(super) stop: CancellationToken,
}

impl Candidacy {
    /// Stands by and leads, in turn, until it is told to stop.
    pub(super) async fn run(self, port: &Port) -> Result<(), MasterError> {
        let mut pauses = Pauses::new();
        let stop = self.stop.clone();
        while let Some(reign) = stop.run_until_cancelled(self.campaign(port)).await {
            let term = reign.term;
            tracing::info!(term, "this master was elected");
            match self.lead(reign, port).await {
                Ok(()) => return Ok(()),
                Err(Fall::Deposed) => {
                    tracing::warn!(term, "this master leads no more");
                    pauses = Pauses::new();
                }
                Err(Fall::Unable(error)) => {
                    let error = crate::policy::in_full(&error);
                    tracing::warn!(term, error, "this master cannot lead; it stands by");
                    port.stand_by(Standing::Waiting(error)).await;
                    stop.run_until_cancelled(sleep(pauses.next())).await;
                }
                Err(Fall::Ended(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until it is elected.
    async fn campaign(&self, port: &Port) -> Reign {
        let mut pauses = Pauses::new();
        loop {
            match self.candidate.run().await {
                Ok(Outcome::Elected(reign)) => return reign,
                Ok(Outcome::Taken { leader, revision }) => {
                    tracing::info!(leader = leader.url, term = leader.term, "standing by");
                    port.stand_by(Standing::Standby(leader.url)).await;
                    pauses = Pauses::new();
                    self.candidate.wait(revision).await;
                }
                Ok(Outcome::Late) => {}
                Err(error) => {
                    tracing::warn!(%error, "no election; trying again");
                    port.stand_by(Standing::Waiting(error.to_string())).await;
                    sleep(pauses.next()).await;
                }
            }
        }
    }

    /// Leads until it is told to stop. However that ends, the lease is given back.
    async fn lead(&self, reign: Reign, port: &Port) -> Result<(), Fall> {
        port.stand_by(Standing::Recovering).await;
        let (store, seat) = reign.into_parts();
        let led = match Recovered::from(&self.config, store).await {
            Ok(recovered) => {
                let reigning = recovered.reign(&self.config, port, self.stop.clone()).await;
                tracing::info!("the master serves");
                reigning.ended().await.map_err(Fall::from)
            }
            Err(error) => Err(Fall::from(error)),
        };
        port.stand_by(Standing::Waiting("an election is under way".to_owned()))
            .await;
        seat.give_back().await;
        led
    }
}

/// Why a reign ended although nobody asked for it.
enum Fall {
    /// Another master leads, or will.
    Deposed,
    /// It could not begin, for a cause that may pass.
    Unable(StartError),
    /// There is no use in trying again.
    Ended(MasterError),
}

impl From<StartError> for Fall {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Registry(StoreError::Deposed) => Self::Deposed,
            StartError::Registry(
                error @ (StoreError::Corrupt { .. } | StoreError::NewerFormat { .. }),
            ) => Self::Ended(MasterError::Recovery(error)),
            error => Self::Unable(error),
        }
    }
}

impl From<DriverError> for Fall {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::Store(StoreError::Deposed) => Self::Deposed,
            error => Self::Ended(error.into()),
        }
    }
}

/// Pauses that grow.
struct Pauses {
    next: Duration,
    random: StdRng,
}

impl Pauses {
    fn new() -> Self {
        Self {
            next: FIRST_PAUSE,
            random: StdRng::from_os_rng(),
        }
    }

    fn next(&mut self) -> Duration {
        let pause = self.next.mul_f64(self.random.random_range(0.5..=1.0));
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let mut pauses = Pauses::new();
        for most in [200, 400, 800, 1600, 3000, 3000] {
            let most = Duration::from_millis(most);
            let pause = pauses.next();
            assert!(pause <= most && pause >= most / 2, "{pause:?} of {most:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_ends_a_master_and_what_may_pass_does_not() {
        let corrupt = StoreError::Corrupt {
            path: "etcd://a:1/nesos".into(),
            what: "a record".to_owned(),
        };
        let ended = Fall::from(StartError::Registry(corrupt));
        assert!(matches!(ended, Fall::Ended(MasterError::Recovery(_))));
        let unreachable = StoreError::Unreachable {
            etcd: "etcd://a:1/nesos".to_owned(),
            why: "refused".to_owned(),
        };
        let unable = Fall::from(StartError::Registry(unreachable));
        assert!(matches!(unable, Fall::Unable(_)));
        assert!(matches!(
            Fall::from(StartError::Registry(StoreError::Deposed)),
            Fall::Deposed
        ));
    }
}
