//! `nesos keys`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use nesos_bundle::keys::{Algorithm, SigningKey};

use crate::failure::Failure;
use crate::output;

/// Makes keys that sign bundles
#[derive(Debug, Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Generate(Generate),
}

/// Writes a new pair of keys: NAME.key, which signs and is for you alone, and NAME.pub, which checks
#[derive(Debug, Args)]
struct Generate {
    /// What the files are called
    #[arg(value_name = "NAME", default_value = "nesos")]
    name: PathBuf,
    /// The kind of key
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    algorithm: KeyKind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum KeyKind {
    /// ECDSA over P-256, as `cosign` makes them
    #[default]
    EcdsaP256,
    /// Ed25519
    Ed25519,
}

impl Keys {
    pub(crate) fn execute(self) -> Result<ExitCode, Failure> {
        let Action::Generate(generate) = self.action;
        generate.execute()
    }
}

impl Generate {
    fn execute(self) -> Result<ExitCode, Failure> {
        let key = SigningKey::generate(match self.algorithm {
            KeyKind::EcdsaP256 => Algorithm::EcdsaP256,
            KeyKind::Ed25519 => Algorithm::Ed25519,
        });
        let key = key.map_err(|error| Failure::new("cannot make a key", error))?;
        let (private, public) = (
            self.name.with_extension("key"),
            self.name.with_extension("pub"),
        );
        write_new(&private, &key.to_pem(), 0o600)?;
        // A pair is both or neither.
        write_new(&public, &key.verifying_key().to_pem(), 0o644)
            .inspect_err(|_| drop(fs::remove_file(&private)))?;
        output::line(format_args!(
            "{} signs (nesos push --sign), {} checks (nesos roles set ROLE --signer)",
            private.display(),
            public.display()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Nothing that is there is written over: it may be somebody's only key.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let written: io::Result<()> = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::said(format!(
            "{} is there already, and nothing is written over; choose another NAME",
            path.display()
        )),
        _ => Failure::new(&format!("cannot write {}", path.display()), error),
    })
}
