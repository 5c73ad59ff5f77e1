//! The configuration of a master or an agent: a file, flags over it, defaults below it. Unknown keys
//! are refused.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::failure::Failure;

/// A configuration in the making.
#[derive(Debug)]
pub(crate) struct Settings {
    table: Table,
    origin: String,
}

impl Settings {
    /// What the file says; nothing without a file.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, Failure> {
        let Some(file) = file else {
            return Ok(Self {
                table: Table::new(),
                origin: "the command line".to_owned(),
            });
        };
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::new(&format!("cannot read {shown}"), error))?;
        let table = text.parse().map_err(|error: toml::de::Error| {
            Failure::new(&format!("{shown} is not TOML"), error)
        })?;
        Ok(Self {
            table,
            origin: shown.to_string(),
        })
    }

    /// Sets a value that was given on the command line; it wins over the file's.
    pub(crate) fn set(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.table.insert(key.to_owned(), value.into());
        }
    }

    /// The same in a section of the file.
    pub(crate) fn set_in(&mut self, section: &str, key: &str, value: Option<impl Into<Value>>) {
        let Some(value) = value else {
            return;
        };
        let section = self.table.entry(section);
        // What is no section is refused when everything is read.
        if let Value::Table(section) = section.or_insert_with(|| Value::Table(Table::new())) {
            section.insert(key.to_owned(), value.into());
        }
    }

    /// Sets the state directory, from the command line or where the file names none either.
    pub(crate) fn set_state_directory(
        &mut self,
        given: Option<&Path>,
        default: impl FnOnce() -> PathBuf,
    ) {
        const KEY: &str = "state_directory";
        let text = |path: &Path| path.to_string_lossy().into_owned();
        match given {
            Some(path) => self.set(KEY, Some(text(path))),
            None if self.table.contains_key(KEY) => {}
            None => self.set(KEY, Some(text(&default()))),
        }
    }

    /// The typed configuration.
    pub(crate) fn read<T: DeserializeOwned>(self) -> Result<T, Failure> {
        let what = format!("cannot use the configuration from {}", self.origin);
        self.table
            .try_into()
            .map_err(|error| Failure::new(&what, error))
    }
}

#[cfg(test)]
mod tests {
    use nesos_master::MasterConfig;
    use nesos_types::resources::Scalar;

    use super::*;

    fn settings(text: &str) -> Settings {
        Settings {
            table: text.parse().expect("TOML"),
            origin: "a test".to_owned(),
        }
    }

    #[test]
    fn a_flag_for_a_section_leaves_the_rest_of_it() {
        for text in [
            "",
            "[allocation]\nwindow_ms = 7\nfair_sharing_excluded = ['mem']",
        ] {
            let mut settings = settings(text);
            let names = vec!["gpus".to_owned()];
            settings.set_in("allocation", "fair_sharing_excluded", Some(names));
            settings.set_in("allocation", "window_ms", None::<i64>);
            settings.set_state_directory(None, || "/default".into());
            let config: MasterConfig = settings.read().expect("a configuration");
            let excluded = config.allocation.fair_sharing_excluded;
            assert_eq!(excluded, [Scalar::named("gpus")].into());
            assert_eq!(
                config.allocation.window_ms,
                if text.is_empty() { 0 } else { 7 }
            );
        }
    }

    #[test]
    fn flags_win_over_the_file_and_defaults_fill_the_rest() {
        let mut settings = settings("listen = '127.0.0.1:1'\nshutdown_grace_ms = 7");
        settings.set("listen", Some("127.0.0.1:2"));
        settings.set("ephemeral", None::<bool>);
        settings.set_state_directory(None, || "/default".into());
        let config: MasterConfig = settings.read().expect("a configuration");
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.shutdown_grace_ms, 7);
        assert_eq!(config.state_directory, PathBuf::from("/default"));
    }

    #[test]
    fn the_state_directory_of_the_file_is_kept_unless_another_is_given() {
        let mut given = settings("state_directory = '/file'");
        given.set_state_directory(None, || "/default".into());
        assert_eq!(given.table["state_directory"].as_str(), Some("/file"));
        given.set_state_directory(Some(Path::new("/flag")), || "/default".into());
        assert_eq!(given.table["state_directory"].as_str(), Some("/flag"));
    }

    #[test]
    fn unknown_keys_are_named() {
        let mut settings = settings("lissten = '127.0.0.1:1'");
        settings.set_state_directory(None, || "/default".into());
        let failure = settings.read::<MasterConfig>().expect_err("unknown");
        assert!(failure.line().contains("lissten"), "{}", failure.line());
    }
}
