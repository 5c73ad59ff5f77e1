use super::*;

const WHOLE: &str = r#"
name = "ads/web/hello"
version = "1.2.0"
description = "Greets."
kind = "command"
args = ["--loud"]

[env]
GREETING = "hello"

[resources]
cpus = 0.5
mem = "64MiB"
disk = 4096

[limits]
fuel = 1000000
timeout = "30s"
files = 100
output = "1MiB"
kill_grace = 2
burst = true
metering = "fuel"

[capabilities]
network = ["db.internal:5432", "10.0.0.1:*"]

[[capabilities.volumes]]
name = "data"
guest = "/var/data"
read_only = true

[files]
include = ["static/**"]
at = "/assets"

[build]
command = ["cargo", "build", "--release", "--target", "wasm32-wasip1"]
artifact = "target/wasm32-wasip1/release/hello.wasm"
target = "wasm32-wasip1"
"#;

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(text.as_bytes())
}

#[test]
fn everything_that_can_be_said_is_read() {
    let manifest = parse(WHOLE).expect("a manifest");
    assert_eq!(manifest.name, "ads/web/hello");
    assert_eq!(manifest.tag(), "1.2.0");
    assert_eq!(manifest.kind, Kind::Command);
    assert_eq!(manifest.args, ["--loud"]);
    assert_eq!(manifest.env["GREETING"], "hello");
    let resources = Resources {
        cpus: Some(500),
        mem: Some(64 << 20),
        disk: Some(4096),
    };
    assert_eq!(manifest.resources, resources);
    assert_eq!(manifest.limits.timeout, Some(Duration::from_secs(30)));
    assert_eq!(manifest.limits.kill_grace, Some(Duration::from_secs(2)));
    assert_eq!(manifest.limits.output, Some(1 << 20));
    assert_eq!(manifest.limits.metering, Metering::Fuel);
    assert!(manifest.limits.burst);
    assert_eq!(manifest.capabilities.network[1].as_str(), "10.0.0.1:*");
    assert!(manifest.capabilities.volumes[0].read_only);
    assert_eq!(manifest.files_at(), "/assets");
    assert_eq!(manifest.build.expect("said").command.len(), 5);
}

#[test]
fn a_name_is_enough() {
    let manifest = parse("name = \"hello\"").expect("a manifest");
    assert_eq!(manifest.tag(), "latest");
    assert_eq!(manifest.resources, Resources::default());
    assert_eq!(manifest.files_at(), FILES_AT);
}

#[test]
fn a_key_that_is_not_known_is_refused_with_its_place() {
    let error = parse("name = \"hello\"\n[limits]\ntimeuot = \"3s\"\n").expect_err("a slip");
    let text = error.to_string();
    assert!(
        text.contains("line 3") && text.contains("timeuot"),
        "{text}"
    );
    assert!(text.contains("expected one of"), "{text}");
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    for (text, words) in [
        ("", "name"),
        ("name = \"Hello\"", "write hello"),
        ("name = \"a\"\nversion = \"1\"", "version"),
        ("name = \"a\"\nkind = \"daemon\"", "daemon"),
        ("name = \"a\"\n[resources]\ncpus = 0", "resources.cpus"),
        ("name = \"a\"\n[resources]\ncpus = \"many\"", "line 3"),
        ("name = \"a\"\n[resources]\nmem = \"12 potatoes\"", "line 3"),
        ("name = \"a\"\n[resources]\nmem = true", "a size such as"),
        ("name = \"a\"\n[resources]\nmem = -1", "line 3"),
        ("name = \"a\"\n[limits]\ntimeout = \"soon\"", "line 3"),
        ("name = \"a\"\n[limits]\ntimeout = 0", "limits.timeout"),
        ("name = \"a\"\n[env]\n\"A=B\" = \"c\"", "env"),
        (
            "name = \"a\"\n[capabilities]\nnetwork = [\"db\"]",
            "HOST:PORT",
        ),
        (
            "name = \"a\"\n[capabilities]\nnetwork = [\"db:\"]",
            "HOST:PORT",
        ),
        (
            "name = \"a\"\n[capabilities]\nnetwork = [\"d b:1\"]",
            "host",
        ),
        (
            "name = \"a\"\n[files]\ninclude = [\"../x\"]",
            "files.include",
        ),
        (
            "name = \"a\"\n[files]\ninclude = [\"/etc/*\"]",
            "files.include",
        ),
        (
            "name = \"a\"\n[files]\ninclude = []\nat = \"x\"",
            "files.at",
        ),
        ("name = \"a\"\n[build]\nartifact = \"/x\"", "build.artifact"),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    let long = vec![b'#'; MAX_BYTES + 1];
    assert!(matches!(
        Manifest::parse(&long),
        Err(ManifestError::TooLong(_))
    ));
    assert!(matches!(
        Manifest::parse(b"\xff"),
        Err(ManifestError::NotText(_))
    ));
}
