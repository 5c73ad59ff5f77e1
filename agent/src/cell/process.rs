//! What makes a child of the agent a process of its own, that outlives the agent.

use std::io::{self, Write};

use rustix::process::setsid;

/// What a cell says on its standard output once its agent can connect; anything else is why it never
/// will.
pub(crate) const READY: &str = "ready";

/// Leaves the agent's session, closes what was inherited beside the standard descriptors, and lifts
/// the soft limit on descriptors. Must be called before anything else in the process is opened.
pub(super) fn detach() {
    // Fails only if the process leads a session already, which is what is wanted.
    let _ = setsid();
    close_inherited();
    crate::raise_descriptor_limit();
}

fn close_inherited() {
    let Ok(listing) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let open: Vec<i32> = listing
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2)
        .collect();
    // The listing's own descriptor is among them, and has been closed again.
    for descriptor in open.into_iter().filter(is_open) {
        // SAFETY: nothing in this process has opened a descriptor yet (the listing above is closed
        // again): whatever is open was inherited, and nobody here owns it.
        #[expect(
            unsafe_code,
            reason = "closes descriptors that nobody in the process owns"
        )]
        unsafe {
            rustix::io::close(descriptor);
        }
    }
}

fn is_open(descriptor: &i32) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/fd/{descriptor}")).is_ok()
}

/// Tells the agent that it can connect, or why it cannot, and lets go of the pipe.
pub(super) fn announce(message: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    // The agent may be gone by now; the cell waits for the next one.
    let _ = writeln!(stdout, "{message}").and_then(|()| stdout.flush());
    let null = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}
