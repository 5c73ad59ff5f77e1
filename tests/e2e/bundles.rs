//! Bundles, as whoever writes and runs them meets them: made, built, pushed, run by name, signed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nesos_artifacts::{executors, wasip1 as guests};

use crate::harness::{Dev, Guarded, nesos, read_until};

/// A project that is built already.
pub(crate) struct Project {
    directory: tempfile::TempDir,
}

impl Project {
    /// Of this guest, with this in its `nesos.toml` beside its name and how it is built.
    pub(crate) fn of(wasm: &[u8], name: &str, manifest: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let project = Self { directory };
        project.write("guest.wasm", wasm);
        project.says(name, manifest);
        project
    }

    pub(crate) fn guest(guest: &str, name: &str, manifest: &str) -> Self {
        Self::of(&std::fs::read(guest).expect("built"), name, manifest)
    }

    /// Writes its `nesos.toml` anew.
    fn says(&self, name: &str, manifest: &str) {
        let text = format!("name = \"{name}\"\n{manifest}\n[build]\nartifact = \"guest.wasm\"\n");
        self.write("nesos.toml", text.as_bytes());
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        let path = self.directory.path().join(file);
        std::fs::create_dir_all(path.parent().expect("below")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }

    pub(crate) fn path(&self) -> &str {
        self.directory.path().to_str().expect("UTF-8")
    }

    /// Builds it, and pushes it with these arguments; answers what the push said.
    pub(crate) fn push(&self, dev: &Dev, args: &[&str]) -> String {
        dev.ask(&["build", self.path()]);
        dev.ask(&[&["push", self.path()], args].concat())
    }
}

/// The digest that a line of `nesos push` ends with.
fn digest(said: &str) -> &str {
    let line = said.lines().next().expect("a line");
    line.rsplit(' ').next().expect("a word")
}

/// Waits until something is so.
#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn json(dev: &Dev, args: &[&str]) -> serde_json::Value {
    let text = dev.ask(&[args, &["--output", "json"]].concat());
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_new_project_is_built_pushed_and_run() {
    let dev = Dev::start(&[]);
    let directory = tempfile::tempdir().expect("a directory");
    let folder = directory.path().join("greeter");
    let folder = folder.to_str().expect("UTF-8");
    dev.ask(&["new", folder]);
    dev.tell(&["new", folder])
        .exits(125)
        .says("is there already");
    dev.tell(&["push", folder]).exits(125).says("is not built");
    dev.ask(&["build", folder]);
    let said = dev.ask(&["push", folder]);
    assert!(said.starts_with("greeter:0.1.0,latest "), "{said}");
    for name in [
        "greeter",
        "greeter:0.1.0",
        &format!("greeter@{}", digest(&said)),
    ] {
        dev.run(name)
            .args(&["you"])
            .go()
            .exits(0)
            .prints("Hello, you!\n");
    }
    let tags = json(&dev, &["bundles"]);
    let tags = tags.as_array().expect("a list").iter();
    let tags: Vec<_> = tags
        .map(|row| (&row["name"], &row["tag"], &row["kind"]))
        .collect();
    assert_eq!(
        tags[0],
        (&"greeter".into(), &"0.1.0".into(), &"command".into())
    );
    assert_eq!(
        tags[1],
        (&"greeter".into(), &"latest".into(), &"command".into())
    );

    let pulled = directory.path().join("pulled");
    let pulled = pulled.to_str().expect("UTF-8");
    let where_to = dev.ask(&["pull", "greeter", "--into", pulled]);
    assert_eq!(digest(&where_to.replace('\n', "")), digest(&said));
    assert_eq!(json(&dev, &["inspect", pulled])["digest"], digest(&said));
}

#[test]
fn a_build_that_fails_leaves_nothing_to_push() {
    let dev = Dev::start(&[]);
    let project = Project::guest(guests::HELLO, "hello", "");
    dev.ask(&["build", project.path()]);
    project.write("guest.wasm", b"not WebAssembly");
    dev.tell(&["build", project.path()])
        .exits(126)
        .says("guest.wasm");
    dev.tell(&["push", project.path()])
        .exits(125)
        .says("is not built");
}

#[test]
fn executors_in_rust_are_made_of_their_interfaces_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let folder = directory.path().join("my-executor");
    let made = nesos()
        .args(["new", "--kind", "executor"])
        .arg(&folder)
        .output();
    assert!(made.expect("nesos starts").status.success());
    let manifest = std::fs::read_to_string(folder.join("nesos.toml")).expect("made");
    assert!(manifest.contains("my_executor.wasm"), "{manifest}");
    let worlds = std::fs::read_to_string(folder.join("wit/worlds.wit")).expect("made");
    assert!(worlds.contains("world executor"), "{worlds}");
    assert!(folder.join("wit/deps/io.wit").exists());
}

#[test]
fn what_a_bundle_newly_wants_is_said_when_it_is_pushed() {
    let dev = Dev::start(&[]);
    let project = Project::guest(guests::HELLO, "hello", "version = \"1.0.0\"");
    let said = project.push(&dev, &[]);
    assert_eq!(said.lines().count(), 1, "{said}");
    let wants = "version = \"1.1.0\"\n[capabilities]\nnetwork = [\"db:5432\"]\n\
                 [[capabilities.volumes]]\nname = \"data\"\nguest = \"/data\"";
    project.says("hello", wants);
    dev.ask(&["build", project.path()]);
    let before = dev.ask(&["inspect", project.path()]);
    assert!(
        before.contains("changes since hello:latest:\n  now wants network to db:5432"),
        "{before}"
    );
    let said = dev.ask(&["push", project.path()]);
    assert!(said.starts_with("hello:1.1.0,latest "), "{said}");
    assert!(
        said.contains("\n  now wants network to db:5432\n"),
        "{said}"
    );
    assert!(
        said.contains("\n  now wants to write the volume data at /data\n"),
        "{said}"
    );
    // Whoever runs it decides, and hears of it.
    dev.run("hello").go().exits(0).says("--volume data::/data");
    dev.run("hello:1.0.0").go().exits(0).says_nothing();
}

#[test]
fn what_the_manifest_says_is_what_a_run_does_without_more() {
    let dev = Dev::start(&[]);
    let manifest = "args = [\"one\", \"two\"]\n[env]\nCOLOUR = \"blue\"\nSIZE = \"1\"\n\
                    [resources]\ncpus = 0.25\nmem = \"32MiB\"\ndisk = \"1MiB\"\n\
                    [limits]\ntimeout = \"30s\"\nmetering = \"fuel\"";
    let project = Project::guest(guests::ARGS_ENV, "says", manifest);
    project.push(&dev, &[]);
    let defaults = dev.run("says").go().exits(0);
    let defaults = defaults.output_holds("arg 0 \"says\"\narg 1 \"one\"\narg 2 \"two\"\n");
    defaults.output_holds("env COLOUR=\"blue\"\nenv SIZE=\"1\"\n");
    let tasks = json(&dev, &["tasks", "--all"]);
    let task = &tasks[0]["info"];
    assert_eq!(task["resources"]["cpu_milli"], 250, "{task}");
    assert_eq!(task["resources"]["mem_bytes"], 32 << 20, "{task}");
    assert_eq!(task["resources"]["disk_bytes"], 1 << 20, "{task}");
    let flags = ["--env", "SIZE=2", "--mem", "64MiB"];
    let other = dev.run_with(&flags, "says").args(&["three"]).go().exits(0);
    let other = other.output_holds("arg 1 \"three\"\nenv COLOUR=\"blue\"\nenv SIZE=\"2\"\n");
    assert!(!other.text().contains("two"), "{other}");
}

#[test]
fn files_of_a_bundle_are_there_to_read_and_not_to_write() {
    let dev = Dev::start(&[]);
    let manifest = "[files]\ninclude = [\"static/**\"]\nat = \"/assets\"";
    let project = Project::guest(guests::READ_FILE, "reads", manifest);
    project.write("static/deep/a.txt", b"of the bundle\n");
    project.push(&dev, &[]);
    let path = ["/assets/static/deep/a.txt"];
    dev.run("reads")
        .args(&path)
        .go()
        .exits(0)
        .prints("of the bundle\n");

    let project = Project::guest(guests::WRITE_FILE, "writes", manifest);
    project.write("static/deep/a.txt", b"of the bundle\n");
    project.push(&dev, &[]);
    let refused = dev.run("writes").args(&path).input("mine").go();
    assert_ne!(refused.status, 0, "{refused}");
    // The next one finds what was pushed.
    dev.run("reads")
        .args(&path)
        .go()
        .exits(0)
        .prints("of the bundle\n");
}

#[test]
fn a_tag_that_moves_takes_no_task_along() {
    let dev = Dev::start(&["--resources", "cpus:1;mem:1GiB;disk:1GiB"]);
    let old = Project::guest(guests::HELLO, "moves", "");
    let pushed = old.push(&dev, &[]);
    let mut occupant = dev.nesos();
    let occupant = occupant
        .args(["run", guests::ECHO_LINES])
        .stdin(Stdio::piped());
    let occupant = occupant
        .stdout(Stdio::piped())
        .spawn()
        .expect("nesos starts");
    let mut occupant = Guarded(occupant);
    let mut stdin = occupant.0.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, b"here\n").expect("it reads");
    read_until(occupant.0.stdout.as_mut().expect("piped"), "1: here");

    // It knows what it runs, and waits for the only CPU.
    let mut waiting = dev.nesos();
    let waiting = waiting.args(["run", "moves"]).stdout(Stdio::piped());
    let waiting = Guarded(waiting.spawn().expect("nesos starts"));
    let frameworks = || json(&dev, &["frameworks"]).as_array().map_or(0, Vec::len);
    eventually("two frameworks", || frameworks() == 2);
    Project::guest(guests::ARGS_ENV, "moves", "").push(&dev, &[]);
    dev.ask(&["bundles", "gc"]);
    drop(stdin);

    let mut waiting = waiting;
    let mut output = String::new();
    let stdout = waiting.0.stdout.as_mut().expect("piped");
    std::io::Read::read_to_string(stdout, &mut output).expect("UTF-8");
    assert_eq!(output, dev.run(guests::HELLO).go().text());
    let tasks = json(&dev, &["tasks", "--all"]);
    let tasks = tasks.as_array().expect("a list");
    let task = tasks.iter().find(|task| task["name"] == "moves");
    assert_eq!(task.expect("is known")["info"]["bundle"], digest(&pushed));
    dev.run("moves")
        .go()
        .exits(0)
        .output_holds("arg 0 \"moves\"");
}

/// A pair of keys in this directory; answers the file that signs and the one that checks.
fn keys(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    let at = directory.join(name);
    let made = nesos().args(["keys", "generate"]).arg(&at).output();
    assert!(made.expect("nesos starts").status.success());
    (at.with_extension("key"), at.with_extension("pub"))
}

#[test]
fn a_role_with_signers_runs_what_they_have_signed_and_nothing_else() {
    let dev = Dev::start(&[]);
    let directory = tempfile::tempdir().expect("a directory");
    let text = |path: &PathBuf| path.to_str().expect("UTF-8").to_owned();
    let (ours, check) = keys(directory.path(), "ours");
    let (theirs, _) = keys(directory.path(), "theirs");
    nesos_fails_to_overwrite(&ours);
    dev.ask(&["roles", "set", "bank", "--signer", &text(&check)]);
    assert_eq!(
        json(&dev, &["roles"])[0]["signers"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );

    let project = Project::guest(guests::HELLO, "bank/hello", "");
    project.push(&dev, &[]);
    let run = |role: &str| dev.run_with(&["--role", role], "bank/hello").go();
    let refused = run("bank");
    assert_ne!(refused.status, 0, "{refused}");
    refused.says("is not signed").says("nesos push --sign");
    // A role below it wants the same; another does not.
    assert_ne!(run("bank/loans").status, 0);
    dev.run_with(&["--role", "shop"], guests::HELLO)
        .go()
        .exits(0);

    dev.ask(&["push", project.path(), "--sign", &text(&theirs)]);
    let refused = run("bank");
    assert_ne!(refused.status, 0, "{refused}");
    refused.says("none of the 1 trusted keys");

    dev.ask(&["push", project.path(), "--sign", &text(&ours)]);
    run("bank").exits(0);
    run("bank/loans").exits(0);
    assert_eq!(
        json(&dev, &["inspect", "bank/hello:latest"])["signatures"],
        2
    );
    let bare = dev.run_with(&["--role", "bank"], guests::HELLO).go();
    assert_ne!(bare.status, 0, "{bare}");
    bare.says("is a bare file");

    dev.ask(&["roles", "set", "bank", "--signer", "none"]);
    dev.run_with(&["--role", "bank"], guests::HELLO)
        .go()
        .exits(0);
}

fn nesos_fails_to_overwrite(key: &Path) {
    let before = std::fs::read(key).expect("made");
    let again = nesos()
        .args(["keys", "generate"])
        .arg(key.with_extension(""))
        .output();
    let again = again.expect("nesos starts");
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(said.contains("nothing is written over"), "{said}");
    assert_eq!(std::fs::read(key).expect("still there"), before);
}

#[test]
fn a_bundle_runs_for_its_tenant_and_nobody_else() {
    let dev = Dev::start(&[]);
    Project::guest(guests::HELLO, "ads/web/hello", "").push(&dev, &[]);
    for role in ["ads/web", "ads", "ads/mobile"] {
        dev.run_with(&["--role", role], "ads/web/hello")
            .go()
            .exits(0);
    }
    for role in ["search", "*"] {
        let refused = dev.run_with(&["--role", role], "ads/web/hello").go();
        refused.exits(125).says("is for role ads");
    }
}

#[test]
fn what_is_no_command_says_so_at_once() {
    let dev = Dev::start(&[]);
    let executor = Project::guest(executors::MODEL, "model", "kind = \"executor\"");
    executor.push(&dev, &[]);
    dev.run("model").go().exits(126).says("executor");
    dev.run(executors::MODEL).go().exits(126).says("executor");
    let liar = Project::guest(guests::HELLO, "liar", "kind = \"service\"");
    liar.push(&dev, &[]);
    dev.run("liar").go().exits(126).says("--port");
}

#[test]
fn names_that_nobody_has_are_said_as_they_were_written() {
    let dev = Dev::start(&[]);
    for name in ["nobodys/bundle:1.0", "nobodys"] {
        let outcome = dev.run(name).go().exits(127);
        let written = if name.contains(':') {
            name.to_owned()
        } else {
            format!("{name}:latest")
        };
        outcome.says(&written).says("nesos bundles");
    }
    dev.tell(&["bundles", "nobodys"])
        .exits(127)
        .says("bundle nobodys");
    dev.tell(&["pull", "nobodys"]).exits(127);
    let alone = crate::harness::run("nobodys").go().exits(127);
    alone.says("--master");
}
