//! CPU: who runs next, for how long, and who pays.
//!
//! Guests run as jobs on a few OS threads of their own, never on those of the control streams. A job is
//! polled for one quantum; the thread's CPU clock around the poll says what it cost, and that is taken
//! from the job's [`Bucket`], which fills at the accepted number of CPUs. The [`queue`] decides who is
//! polled next. Nothing here knows WebAssembly: a job is a future.

mod bucket;
mod clock;
mod job;
mod queue;
mod threads;

pub(crate) use bucket::Bucket;
pub(crate) use clock::{this_quantum_ns, thread_cpu_ns};
pub(crate) use job::{FUEL_PER_QUANTUM, Job, Meter, Share};
pub(crate) use threads::{GuestThreads, Spawner};
