//! How long a handler of an executor may take: wall-clock time, but for the time that it waited for a CPU.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// Notes when it is woken, which is when the wait for a CPU begins.
struct Alarm {
    woken_at: Mutex<Option<Instant>>,
    inner: Waker,
}

impl Alarm {
    fn woken_at(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.woken_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken_at().get_or_insert_with(Instant::now);
        self.inner.wake_by_ref();
    }
}

/// What `handler` comes to; none if it takes longer than `limit`. The time between a wake-up and the poll
/// that follows it is not counted: a guest is not to blame for its place in the queue.
pub(super) async fn within<F: Future>(limit: Duration, handler: F) -> Option<F::Output> {
    let began = Instant::now();
    let mut waited = Duration::ZERO;
    let mut alarm: Option<Arc<Alarm>> = None;
    let mut handler = pin!(handler);
    let mut timer = pin!(tokio::time::sleep(limit));
    std::future::poll_fn(|cx| {
        let alarm = alarm.get_or_insert_with(|| {
            let inner = cx.waker().clone();
            let woken_at = Mutex::new(None);
            Arc::new(Alarm { woken_at, inner })
        });
        let now = Instant::now();
        if let Some(woken_at) = alarm.woken_at().take() {
            waited += now.saturating_duration_since(woken_at);
        }
        let waker = Waker::from(alarm.clone());
        let mut cx = Context::from_waker(&waker);
        if let Poll::Ready(done) = handler.as_mut().poll(&mut cx) {
            return Poll::Ready(Some(done));
        }
        let due = began + limit + waited;
        if due <= Instant::now() {
            return Poll::Ready(None);
        }
        while timer.as_mut().poll(&mut cx).is_ready() {
            timer.as_mut().reset(due.into());
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_handler_that_waits_for_itself_is_given_up() {
        assert_eq!(within(LIMIT, async { 7 }).await, Some(7));
        let began = Instant::now();
        assert_eq!(within(LIMIT, std::future::pending::<()>()).await, None);
        assert!(began.elapsed() >= LIMIT);
    }

    #[tokio::test]
    async fn a_wait_for_the_cpu_is_not_counted() {
        // The one thread of this runtime is taken for twice the limit, while the handler could run.
        let mut polls = 0;
        let handler = std::future::poll_fn(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls < 4 {
                Poll::Pending
            } else {
                Poll::Ready(true)
            }
        });
        let hog = async {
            std::thread::sleep(LIMIT * 2);
        };
        let (patient, ()) = tokio::join!(within(LIMIT, handler), hog);
        assert_eq!(patient, Some(true));
    }
}
