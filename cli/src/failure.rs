//! What a person sees when Nesos itself fails, and the exit status that goes with it.

use std::error::Error;
use std::process::ExitCode;

use crate::output;

/// Exit statuses of Nesos itself, as shells, `env`, `timeout` and container tools have them.
pub(crate) mod status {
    /// Nesos failed: no master, a refused framework, a lost agent.
    pub(crate) const FAILED: u8 = 125;
    /// The file was found but cannot be run.
    pub(crate) const CANNOT_RUN: u8 = 126;
    /// The file was not found.
    pub(crate) const NOT_FOUND: u8 = 127;
}

/// Why a command did not do its work: one line for a person, and an exit status.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    line: String,
}

impl Failure {
    /// `what` could not be done because of `error` and its causes.
    pub(crate) fn new(what: &str, error: impl Error) -> Self {
        Self::said(format!("{what}: {}", chain(&error)))
    }

    /// A failure in words.
    pub(crate) fn said(line: impl Into<String>) -> Self {
        Self {
            status: status::FAILED,
            line: line.into(),
        }
    }

    /// The same with another exit status.
    pub(crate) fn with_status(mut self, status: u8) -> Self {
        self.status = status;
        self
    }

    /// Says it and answers the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        output::complain(&self.line);
        ExitCode::from(self.status)
    }

    #[cfg(test)]
    pub(crate) fn line(&self) -> &str {
        &self.line
    }
}

/// An error and its causes, in one line; a cause that the error's own text repeats is left out.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line.replace('\n', " ")
}

impl From<std::io::Error> for Failure {
    /// Only writing to stdout fails without a better story. A reader that went away is no news.
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::said("").with_status(141);
        }
        Self::new("cannot write to stdout", error)
    }
}

/// Errors that say everything by themselves.
macro_rules! speaks_for_itself {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::said(chain(&error))
            }
        })+
    };
}

speaks_for_itself!(
    nesos_sdk::ConnectError,
    nesos_sdk::DriverError,
    nesos_sdk::BlobError,
    nesos_master::StartError,
    nesos_master::MasterError,
    nesos_agent::StartError,
    nesos_agent::AgentError,
);

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self::said(nesos_sdk::describe(&status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the door")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_follow_in_one_line() {
        let error = Outer(std::io::Error::other("it is\nlocked"));
        let failure = Failure::new("cannot leave", error);
        assert_eq!(
            failure.line(),
            "cannot leave: cannot open the door: it is locked"
        );
    }
}
