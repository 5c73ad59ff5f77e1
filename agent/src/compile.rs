//! The process that compiles one untrusted bundle under limits, and says on its standard output how
//! that went.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use nesos_runtime::{CompileError, InspectError};
use nesos_types::limits::Metering;
use nesos_types::task::TaskReason;
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::causes::with_causes;

/// How a compiling process is started; the agent fills this in.
#[derive(Clone, Debug, clap::Args)]
pub struct CompileArgs {
    /// The bundle.
    #[arg(long)]
    pub input: PathBuf,
    /// Where the compiled image goes.
    #[arg(long)]
    pub output: PathBuf,
    /// How the bundle's tasks are metered.
    #[arg(long, value_enum)]
    pub metering: MeteringArg,
    /// The most address space that the process may take, in bytes.
    #[arg(long)]
    pub memory_bytes: Option<u64>,
    /// The most CPU time that the process may take, in seconds.
    #[arg(long)]
    pub cpu_secs: Option<u64>,
}

/// [`Metering`], on a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MeteringArg {
    /// By the thread CPU clock, fuel counted beside it.
    Clock,
    /// By fuel.
    Fuel,
    /// By the thread CPU clock, without counting fuel.
    Time,
}

impl From<MeteringArg> for Metering {
    fn from(metering: MeteringArg) -> Self {
        match metering {
            MeteringArg::Clock => Self::Clock,
            MeteringArg::Fuel => Self::Fuel,
            MeteringArg::Time => Self::Time,
        }
    }
}

impl From<Metering> for MeteringArg {
    fn from(metering: Metering) -> Self {
        match metering {
            Metering::Clock => Self::Clock,
            Metering::Fuel => Self::Fuel,
            Metering::Time => Self::Time,
        }
    }
}

/// What the process says, in one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// The image is there.
    Compiled {
        /// Its size.
        image_bytes: u64,
    },
    /// There will be none.
    Refused {
        /// What tasks that wait for it are told.
        reason: TaskReason,
        /// Why, for a person.
        message: String,
    },
}

/// Compiles, under limits that the process sets itself before it looks at the bundle.
pub fn main(args: CompileArgs) -> ExitCode {
    let verdict = match limit(&args) {
        Ok(()) => compile(&args),
        Err(errno) => Verdict::Refused {
            reason: TaskReason::LaunchFailed,
            message: format!("the compiling process cannot limit itself: {errno}"),
        },
    };
    let compiled = matches!(verdict, Verdict::Compiled { .. });
    match say(&verdict) {
        Ok(()) if compiled => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn limit(args: &CompileArgs) -> rustix::io::Result<()> {
    let hard = |value| Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    if let Some(bytes) = args.memory_bytes {
        setrlimit(Resource::As, hard(bytes))?;
    }
    if let Some(seconds) = args.cpu_secs {
        setrlimit(Resource::Cpu, hard(seconds))?;
    }
    setrlimit(Resource::Core, hard(0))?;
    // Tasks that run come before tasks that will; that it cannot be so is no reason not to compile.
    let _ = rustix::process::nice(10);
    Ok(())
}

fn compile(args: &CompileArgs) -> Verdict {
    match nesos_runtime::compile(&args.input, args.metering.into(), &args.output) {
        Ok(info) => Verdict::Compiled {
            image_bytes: info.image_bytes,
        },
        Err(error) => Verdict::Refused {
            reason: reason(&error),
            message: with_causes(&error),
        },
    }
}

fn reason(error: &CompileError) -> TaskReason {
    match error {
        CompileError::Bundle(InspectError::Read { .. })
        | CompileError::Engine(_)
        | CompileError::Write { .. } => TaskReason::LaunchFailed,
        CompileError::Bundle(InspectError::MissingImports(_)) => TaskReason::ImportUnsatisfied,
        CompileError::Bundle(InspectError::TooCostly(_)) => TaskReason::CompileLimit,
        CompileError::Bundle(_) | CompileError::Compiler(_) | CompileError::Rewrite(_) => {
            TaskReason::InvalidModule
        }
    }
}

fn say(verdict: &Verdict) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, verdict)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}
