//! Waiting, for WASI 0.1: `poll_oneoff` and `sched_yield` without ever blocking a thread.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll as Step};
use std::time::Duration;

use wasi_common::sched::subscription::{RwEventFlags, Subscription};
use wasi_common::{Error, Poll, WasiSched};

use crate::wasi::clock::{Clock, yield_once};

/// Waits on tokio's timers and on the files' own readiness. Cancelled by dropping the future.
pub(super) struct Sched(pub(super) Clock);

#[wiggle::async_trait]
impl WasiSched for Sched {
    async fn poll_oneoff<'a>(&self, poll: &mut Poll<'a>) -> Result<(), Error> {
        let deadline = poll
            .earliest_clock_deadline()
            .map(|clock| clock.duration_until().unwrap_or_default());
        let mut files = FirstReady(poll.rw_subscriptions().map(ready).collect());
        let Some(deadline) = deadline else {
            files.await;
            return Ok(());
        };
        // What is ready now goes before a deadline, also before one that has passed.
        tokio::select! {
            biased;
            () = &mut files, if !files.0.is_empty() => {}
            () = self.0.sleep(deadline) => {}
        }
        Ok(())
    }

    async fn sched_yield(&self) -> Result<(), Error> {
        yield_once().await;
        Ok(())
    }

    async fn sleep(&self, duration: Duration) -> Result<(), Error> {
        self.0.sleep(duration).await;
        Ok(())
    }
}

type Ready<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Waits for one file and notes the outcome in its subscription.
fn ready<'a, 'f>(subscription: &'a mut Subscription<'f>) -> Ready<'a> {
    Box::pin(async move {
        match subscription {
            Subscription::Read(read) => {
                match read
                    .file
                    .readable()
                    .await
                    .and_then(|()| read.file.num_ready_bytes())
                {
                    Ok(bytes) => read.complete(bytes, RwEventFlags::empty()),
                    Err(error) => read.error(error),
                }
            }
            Subscription::Write(write) => match write.file.writable().await {
                Ok(()) => write.complete(0, RwEventFlags::empty()),
                Err(error) => write.error(error),
            },
            Subscription::MonotonicClock(_) => {}
        }
    })
}

/// Done when at least one is; every one that is ready at that moment gets to say so.
struct FirstReady<'a>(Vec<Ready<'a>>);

impl Future for FirstReady<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Step<()> {
        let before = self.0.len();
        self.0
            .retain_mut(|file| file.as_mut().poll(cx).is_pending());
        if self.0.len() < before {
            Step::Ready(())
        } else {
            Step::Pending
        }
    }
}
