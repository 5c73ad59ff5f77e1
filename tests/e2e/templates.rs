//! Every project that `nesos new` makes is built, pushed, and does what it says. What builds them is not on every
//! machine; these tests are run by `.ci/run`, each where its tools are.

use crate::harness::Dev;
use crate::registry::host;
use crate::services::{Serving, get};

/// A project of this kind in this language, pushed under its own name `my-project`.
struct Made {
    dev: Dev,
    _directory: tempfile::TempDir,
}

impl Made {
    fn new(kind: &str, language: &str) -> Self {
        let dev = Dev::start(&[]);
        let directory = tempfile::tempdir().expect("a directory");
        let folder = directory.path().join("my-project");
        let folder = folder.to_str().expect("UTF-8");
        let said = dev.tell(&["new", "--kind", kind, "--language", language, folder]);
        said.exits(0).says_nothing();
        dev.ask(&["build", folder]);
        let said = dev.ask(&["push", folder]);
        assert!(said.starts_with("my-project:0.1.0,latest "), "{said}");
        let said = dev.ask(&["inspect", "my-project"]);
        assert!(said.contains(&format!("\n{kind}: ")), "{said}");
        Self {
            dev,
            _directory: directory,
        }
    }

    fn is_an_executor(&self) {
        let refused = self.dev.run("my-project").go();
        refused.exits(126).says("it is an executor");
    }

    fn greets(&self) {
        let greeted = self.dev.run("my-project").args(&["you"]).go();
        greeted.exits(0).prints("Hello, you!\n");
    }
}

#[test]
#[ignore = "needs crates.io"]
fn in_rust() {
    Made::new("command", "rust").greets();
    Made::new("executor", "rust").is_an_executor();
    let service = Made::new("service", "rust");
    let name = format!("oci://{}/my-project", host(&service.dev));
    let serving = Serving::start(&name, &[]);
    let (status, body) = get(serving.port, "/");
    assert_eq!(status, 200);
    assert!(body.contains("Hello, world!\n"), "{body}");
    let policy = Made::new("policy", "rust");
    let said = policy.dev.ask(&["policy", "set", "my-project"]);
    assert!(said.contains("my-project"), "{said}");
    policy.dev.run(nesos_artifacts::wasip1::HELLO).go().exits(0);
    let said = policy.dev.ask(&["policy"]);
    assert!(!said.contains("put aside"), "{said}");
}

#[test]
#[ignore = "needs clang with wasi-libc"]
fn in_c() {
    Made::new("command", "c").greets();
}

#[test]
#[ignore = "needs componentize-py"]
fn in_python() {
    Made::new("command", "python").greets();
    Made::new("executor", "python").is_an_executor();
}
