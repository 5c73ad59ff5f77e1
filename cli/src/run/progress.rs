//! Bars and spinners, for a person at a terminal and for nobody else.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use nesos_types::resources::format_bytes;

use crate::output;

/// How long something may take before it is shown.
pub(super) const PATIENCE: Duration = Duration::from_millis(300);

/// What is under way, on the terminal's last line; nothing where stderr is not a terminal.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// An upload of this many bytes.
    pub(super) fn upload(total: u64) -> Self {
        let style = "uploading {wide_bar} {bytes}/{total_bytes} {eta}";
        let large_enough = total > 4 << 20;
        Self::with(large_enough, || {
            let bar = ProgressBar::new(total);
            bar.set_style(template(style));
            bar
        })
    }

    /// Something whose end is not known.
    pub(super) fn spinner(what: &str, bytes: u64) -> Self {
        let message = format!("{what} ({})", format_bytes(bytes));
        Self::with(true, || {
            let bar = ProgressBar::new_spinner();
            bar.set_style(template("{spinner} {msg} {elapsed}"));
            bar.set_message(message);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        })
    }

    fn with(wanted: bool, make: impl FnOnce() -> ProgressBar) -> Self {
        let bar = (wanted && output::stderr_is_terminal()).then(make);
        Self { bar }
    }

    /// So far has it come.
    pub(super) fn at(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
    }

    /// Leaves no trace.
    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn template(text: &str) -> ProgressStyle {
    ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_bar())
}
