//! The course of a service: its port, its instances, and how it comes to its end.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use nesos_types::service::Service;
use nesos_types::task::TaskReason;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Control;
use super::run::{Launch, begin, no_world, unless_dropped};
use super::start::Host;
use crate::exit::Exit;
use crate::service::{Desk, DeskSpec, listen};
use crate::wasi::WasiSpec;
use crate::wasi::component::Surroundings;

/// How a service ended, if it was not dropped.
enum Ended {
    /// It was to stop, and all requests are answered.
    Drained,
    /// Its fuel is used up.
    Exhausted,
}

/// Serves until somebody wants that to end. No instance is left when this returns.
pub(super) async fn serve(
    host: &Arc<Host>,
    service: Service,
    wasi: WasiSpec,
    launch: Launch<'_>,
) -> Result<Exit, Box<Exit>> {
    let Launch {
        program,
        task,
        report,
        control,
        side,
        hears_stop,
    } = launch;
    let port = service.port;
    let listener = listen(port).map_err(|error| no_port(port, &error))?;
    let (surroundings, _) = Surroundings::new(wasi).map_err(no_world)?;
    attached(control).await;
    let desk = Desk::new(DeskSpec {
        program: program.clone(),
        task: task.clone(),
        service,
        control: control.clone(),
        surroundings,
        side,
        host: host.clone(),
    });
    begin(task, control, hears_stop)?;
    let (close, closing) = watch::channel(false);
    let mut door = Door(host.io.spawn(desk.clone().serve(listener, closing)));
    report.running();
    let ended = unless_dropped(control, course(control, &desk, &mut door, &close)).await;
    desk.close().await;
    Ok(match ended {
        Some(Ended::Exhausted) => {
            let fuel = task.limits.fuel.unwrap_or_default();
            let message = format!("used up its {fuel} units of fuel");
            Exit::failed(TaskReason::FuelExhausted, message)
        }
        // The order that it stopped for says the rest.
        Some(Ended::Drained) | None => Exit::failed(TaskReason::CellTerminated, ""),
    })
}

async fn course(
    control: &Control,
    desk: &Desk,
    door: &mut Door,
    close: &watch::Sender<bool>,
) -> Ended {
    let exhausted = tokio::select! {
        () = control.mailbox.until_stop() => false,
        () = desk.exhausted() => true,
    };
    // Whoever is connected hears of it.
    close.send_replace(true);
    if exhausted {
        return Ended::Exhausted;
    }
    tokio::select! {
        () = door.closed() => Ended::Drained,
        () = desk.exhausted() => Ended::Exhausted,
    }
}

/// The task that serves connections; it ends with this.
struct Door(JoinHandle<()>);

impl Door {
    async fn closed(&mut self) {
        // If it panicked it has said so.
        drop((&mut self.0).await);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits until it is known which job this is, which is a moment after it was started.
async fn attached(control: &Control) {
    let mut known = pin!(std::future::poll_fn(|cx| match control.job() {
        Some(_) => Poll::Ready(()),
        None => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }));
    std::future::poll_fn(|cx| known.as_mut().poll(cx)).await;
}

fn no_port(port: u16, error: &std::io::Error) -> Box<Exit> {
    let message = if error.kind() == std::io::ErrorKind::AddrInUse {
        format!(
            "port {port} of this host is taken by another process: end that, or take it out of the agent's ports"
        )
    } else {
        format!("cannot listen on port {port} of this host: {error}")
    };
    Box::new(Exit::dropped(TaskReason::LaunchFailed, message))
}
