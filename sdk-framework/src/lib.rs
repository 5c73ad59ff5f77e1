//! Write a Nesos framework: the [`Scheduler`] trait and the [`Driver`] that keeps it connected.
//!
//! ```no_run
//! use nesos_sdk::{Actions, Driver, MasterClient, Scheduler, SessionConfig};
//! use nesos_types::framework::FrameworkInfo;
//! use nesos_types::offer::{Filters, Offer};
//! use nesos_types::role::Role;
//! use nesos_types::task::TaskStatus;
//!
//! /// Turns everything down.
//! struct Modest;
//!
//! impl Scheduler for Modest {
//!     type Input = ();
//!     fn offers(&mut self, actions: &mut Actions, offers: Vec<Offer>) {
//!         let offers = offers.iter().map(|offer| offer.id).collect();
//!         actions.decline(offers, Filters::default());
//!     }
//!     fn update(&mut self, _: &mut Actions, status: TaskStatus) {
//!         eprintln!("{} is {}", status.task, status.state);
//!     }
//!     fn input(&mut self, actions: &mut Actions, (): ()) {
//!         actions.stop();
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let master = MasterClient::new("127.0.0.1:5050")?;
//! let info = FrameworkInfo::new("modest", [Role::default_role()]);
//! let (driver, handle) = Driver::new(Modest, master, SessionConfig::new(info));
//! tokio::spawn(driver.run());
//! handle.send(());
//! # Ok(())
//! # }
//! ```
//!
//! The driver connects and reconnects with growing, jittered delays, subscribes again under the same
//! id, delivers each status update once and acknowledges it, asks what became of tasks until it has
//! been answered, and gathers calls into frames. What it decides is in [`session`], a pure state
//! machine. [`TaskQueue`] is a ready-made scheduler; [`DelayPolicy`] waits for offers near the data; [`MasterClient`] and [`TaskIo`] are for tools.

mod backoff;
mod blobs;
mod client;
mod delay;
mod driver;
mod operator;
mod outbox;
mod queue;
mod reconciler;
mod scheduler;
mod seen;
pub mod session;
mod task_io;

pub use backoff::Backoff;
pub use blobs::{BlobError, BlobStat, Blobs, digest_of};
pub use client::{ConnectError, MasterClient, describe};
pub use delay::{Choice, DelayPolicy, Preference};
pub use driver::{Driver, DriverError, Handle};
pub use operator::Operator;
pub use queue::{Placement, QueueConfig, QueueEvent, QueueInput, TaskQueue};
pub use reconciler::ReconcilePolicy;
pub use scheduler::{Actions, ExecutorEnd, Scheduler};
pub use session::{Acknowledge, SessionConfig};
pub use task_io::{Attachment, Output, TaskIo};
