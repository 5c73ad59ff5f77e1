//! Tries to get at the host's files by `..`, by absolute paths and through symbolic links, for
//! reading and for writing, and succeeds only if every way is refused.

use std::{
    fs::{self, File},
    io,
    process::ExitCode,
};

/// Paths to a file that every Linux host has, and no sandbox.
const TO_READ: &[&str] = &[
    "/etc/passwd",
    "../etc/passwd",
    "../../../../../../../../../../etc/passwd",
    "/../../../../../../../../../../etc/passwd",
    "/tmp/../../../../../../../../../../etc/passwd",
    "/tmp/./../tmp/../../../../../../../../etc/passwd",
];

/// Targets of symbolic links that would lead out.
const TO_LINK: &[&str] = &["/", "/etc", "..", "../..", "../../../../../../../../etc"];

fn main() -> ExitCode {
    let mut escapes = 0;
    for path in TO_READ {
        escapes += verdict(&format!("read {path}"), File::open(path).map(drop));
    }
    escapes += verdict("write ../escaped", fs::write("/../escaped", "x"));
    escapes += verdict("rename to ..", rename_out());
    for (number, target) in TO_LINK.iter().enumerate() {
        let link = format!("/tmp/link{number}");
        escapes += verdict(&format!("through link to {target}"), follow(target, &link));
    }
    if escapes == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints what came of an attempt; 1 if it succeeded.
fn verdict(attempt: &str, result: io::Result<()>) -> u32 {
    match result {
        Ok(()) => println!("ESCAPED: {attempt}"),
        Err(ref error) => println!("refused: {attempt}: {:?}", error.kind()),
    }
    u32::from(result.is_ok())
}

fn rename_out() -> io::Result<()> {
    fs::write("/tmp/inside", "x")?;
    fs::rename("/tmp/inside", "/tmp/../../escaped")
}

#[expect(
    deprecated,
    reason = "the one way to make a link that WASI's stable library has"
)]
fn follow(target: &str, link: &str) -> io::Result<()> {
    fs::soft_link(target, link)?;
    File::open(format!("{link}/passwd"))
        .or_else(|_| File::open(format!("{link}/etc/passwd")))
        .map(drop)
}
