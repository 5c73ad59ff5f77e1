//! The agent's own door: attaching to tasks and reading their output.

mod attach;
mod kept;
mod logs;
mod places;

pub use self::attach::TaskIo;
pub use self::places::TaskPlaces;
