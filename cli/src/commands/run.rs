//! `nesos run`: one program, from its file to its exit status.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use nesos_bundle::manifest::{Kind, Manifest, Volume};
use nesos_types::limits::{Limits, Metering};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{Mount, Stdio, TaskInfo, VolumeMount};

use self::serving::ServiceOptions;
use super::asking;
use crate::amounts;
use crate::cluster::{Cluster, one_port};
use crate::connect::{self, DEFAULT_CONNECT_TIMEOUT};
use crate::failure::{Failure, status};
use crate::output;
use crate::program::{Program, nobodys};
use crate::registry::{self, RegistryOptions};
use crate::run::bundle::{self, Bundle};
use crate::run::conduct::{Order, Received, Signals, conduct};

mod serving;

/// Runs a WebAssembly program
///
/// Without `--master` (or `NESOS_MASTER`) on a cluster of its own that lasts as long as the program, with
/// it on that cluster. stdin, stdout and stderr are the program's. Everything after FILE belongs to
/// the program.
///
/// FILE is a file if it ends in .wasm or .wat, begins with ./, ../ or /, or has a slash and is there. Otherwise
/// it is the name of a bundle: `NAME[:TAG]` in the cluster's registry, `oci://HOST/NAME[:TAG]` in another. What the
/// bundle's nesos.toml says is the default of what is not said here.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct Run {
    /// CPUs that the program may use, in steps of 0.001 [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = amounts::cpus)]
    cpus: Option<u64>,
    /// Memory that the program may use [default: 128MiB]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = amounts::size)]
    mem: Option<u64>,
    /// Disk that the program may fill below its root [default: 64MiB]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = amounts::size_or_none)]
    disk: Option<u64>,
    /// Units of fuel after which the program is ended
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    fuel: Option<u64>,
    /// Wall-clock time after which the program is ended
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, value_parser = amounts::time_limit)]
    timeout: Option<Duration>,
    /// Also use CPU beyond --cpus while nobody else wants it
    #[arg(long)]
    burst: bool,
    /// Run on CPU that others have accepted and do not use: slowed down, and then ended, when they do
    #[arg(long, conflicts_with = "burst")]
    revocable: bool,
    #[command(flatten)]
    serving: ServiceOptions,
    /// How CPU is metered [default: clock]
    #[arg(long, value_enum, value_name = "METERING")]
    metering: Option<MeteringOption>,
    /// An environment variable; NAME alone takes its value from here. May be repeated
    #[arg(long = "env", short, value_name = "NAME=VALUE", value_parser = amounts::variable)]
    env: Vec<(String, String)>,
    /// A directory of this host that the program finds below its root. May be repeated
    #[arg(long = "dir", short, value_name = "HOST::GUEST[:ro]", value_parser = amounts::mount)]
    dir: Vec<Mount>,
    /// A persistent volume that the program finds below its root; it runs where that is. May be repeated
    #[arg(long = "volume", value_name = "VOLUME::GUEST[:ro]", value_parser = amounts::volume)]
    volume: Vec<VolumeMount>,
    /// The role in which resources are asked for
    #[arg(long, value_name = "ROLE", default_value = "*", value_parser = amounts::role)]
    role: Role,
    /// The master of the cluster to run on: http://HOST:PORT or HOST:PORT
    #[arg(long, env = "NESOS_MASTER", value_name = "URL[,URL…]")]
    master: Option<String>,
    /// How long to go on trying to reach the master
    #[arg(long, value_name = "TIME", default_value = DEFAULT_CONNECT_TIMEOUT, value_parser = amounts::duration)]
    connect_timeout: Duration,
    #[command(flatten)]
    registry: RegistryOptions,
    /// The program, and its arguments
    #[arg(
        value_name = "FILE",
        required = true,
        num_args = 1..,
        trailing_var_arg = true,
        value_names = ["FILE", "ARGS"]
    )]
    program: Vec<OsString>,
}

const EXIT_STATUS: &str = "\
Exit status:
  0-255     the program's own
  124       the time limit was reached
  125       nesos itself failed: no master, no such resources, a lost agent
  126       the file cannot be run: not WebAssembly, a missing import, too little memory
  127       the file was not found
  130, 143  the program was killed because nesos got SIGINT or SIGTERM (128 + the signal)
  134       the program trapped, or ran out of fuel, memory or disk
  137       the program was killed by somebody else
  141       the reader of its output went away";

/// How CPU is metered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum MeteringOption {
    /// By the CPU clock, fuel counted beside it
    #[default]
    Clock,
    /// By the CPU clock, without counting fuel: for whom the last percent matters
    Time,
    /// By fuel: the same on every machine
    Fuel,
}

impl From<MeteringOption> for Metering {
    fn from(option: MeteringOption) -> Self {
        match option {
            MeteringOption::Clock => Self::Clock,
            MeteringOption::Time => Self::Time,
            MeteringOption::Fuel => Self::Fuel,
        }
    }
}

impl Run {
    pub(crate) fn execute(self) -> Result<ExitCode, Failure> {
        output::log("off");
        // A variable that is set to nothing says as much as one that is not set.
        match self.master.clone().filter(|url| !url.is_empty()) {
            Some(url) => asking(self.on_cluster_of_others(url)),
            None => super::serving(self.on_cluster_of_its_own()),
        }
    }

    async fn on_cluster_of_others(self, url: String) -> Result<ExitCode, Failure> {
        // First of all: a signal that comes from now on is not lost and does not end us by itself.
        let mut signals = Signals::listen()?;
        let prepared = async {
            // A file is looked into before anybody is asked for anything.
            if let Program::File(file) = self.program()? {
                let order = self.order(Bundle::open(&file)?, None)?;
                return Ok((connect::connect(&url, self.connect_timeout).await?, order));
            }
            let master = connect::connect(&url, self.connect_timeout).await?;
            Ok::<_, Failure>((master, self.order_of_stored(&url).await?))
        };
        let (master, order) = tokio::select! {
            prepared = prepared => prepared?,
            signal = signals.next() => return Ok(killed_by(signal)),
        };
        conduct(master, order, &mut signals).await
    }

    async fn on_cluster_of_its_own(self) -> Result<ExitCode, Failure> {
        if let Some(mount) = self.volume.first() {
            return Err(Failure::said(format!(
                "volume {}: a cluster of its own has no volumes; name one that has by --master",
                mount.volume
            )));
        }
        if self.revocable {
            return Err(Failure::said(
                "a cluster of its own has no CPU of others; --revocable goes with --master",
            ));
        }
        let mut signals = Signals::listen()?;
        let order = match self.program()? {
            Program::File(file) => self.order(Bundle::open(&file)?, None)?,
            Program::Stored(reference) if reference.registry.is_none() => {
                return Err(nobodys(&reference));
            }
            Program::Stored(_) => self.order_of_stored("").await?,
        };
        // Not interrupted, for it takes milliseconds, and half a cluster is harder to end than a whole.
        let cluster = Cluster::for_one_task(order.task.limits.metering, self.serving.port).await?;
        let wanted = &order.task.resources;
        let result = if cluster.resources().contains(wanted) {
            conduct(cluster.client()?, order, &mut signals).await
        } else {
            Err(Failure::said(format!(
                "this machine has {}, which is less than {wanted}",
                cluster.resources()
            )))
        };
        cluster.end().await;
        result
    }

    /// Which program is meant.
    fn program(&self) -> Result<Program, Failure> {
        Program::named(
            self.program
                .first()
                .map_or(OsStr::new(""), OsString::as_os_str),
        )
    }

    /// What is to be run of a bundle in a registry: what its tag names now, from here on by digest.
    async fn order_of_stored(&self, master: &str) -> Result<Order, Failure> {
        let Program::Stored(reference) = self.program()? else {
            return Err(Failure::said("the file is not there any more"));
        };
        let remote = self.registry.remote(&reference, master).await?;
        let found = registry::find(&remote, &reference).await?;
        if let Some(why) = found.manifest.as_ref().and_then(|said| self.no_task(said)) {
            let line = format!("cannot run {reference}: {why}");
            return Err(Failure::said(line).with_status(status::CANNOT_RUN));
        }
        for hint in self.not_given(found.manifest.as_ref()) {
            output::complain(&hint);
        }
        self.order(
            Bundle::stored(&reference, found.digest),
            found.manifest.as_ref(),
        )
    }

    /// Why a bundle of this kind is nothing that runs by itself, with what is said here.
    fn no_task(&self, manifest: &Manifest) -> Option<&'static str> {
        match (manifest.kind, self.serving.port) {
            (Kind::Executor, _) => Some(bundle::EXECUTOR),
            (Kind::Policy, _) => Some("it is a policy: `nesos policy set NAME` takes it"),
            (Kind::Service, None) => Some(bundle::SERVICE),
            _ => None,
        }
    }

    /// The volumes that the bundle wants and was not given: whoever runs it decides, and may not know.
    fn not_given(&self, manifest: Option<&Manifest>) -> Vec<String> {
        let wanted = manifest
            .iter()
            .flat_map(|manifest| &manifest.capabilities.volumes);
        let missing = wanted.filter(|wanted| {
            let mut given = self.volume.iter();
            !given.any(|volume| volume.guest == wanted.guest)
        });
        let hint = |volume: &Volume| {
            let mode = if volume.read_only { ":ro" } else { "" };
            format!(
                "the bundle wants the volume {name} at {guest} and was not given it: --volume {name}::{guest}{mode} gives it",
                name = volume.name,
                guest = volume.guest
            )
        };
        missing.map(hint).collect()
    }

    fn order(&self, bundle: Bundle, manifest: Option<&Manifest>) -> Result<Order, Failure> {
        let mut args = vec![bundle.program()];
        if self.program.len() == 1 {
            args.extend(manifest.iter().flat_map(|manifest| manifest.args.clone()));
        }
        for argument in &self.program[1..] {
            args.push(text(argument)?);
        }
        let defaults = manifest.iter().flat_map(|manifest| manifest.env.clone());
        let mut env: Vec<_> = defaults
            .filter(|(name, _)| !self.env.iter().any(|(other, _)| other == name))
            .collect();
        env.extend(self.env.iter().cloned());
        let task = TaskInfo {
            name: bundle.program(),
            repository: bundle.repository(),
            args,
            env,
            limits: self.limits(manifest),
            kill_grace: manifest.and_then(|manifest| manifest.limits.kill_grace),
            stdio: Stdio::Attached,
            mounts: self.dir.clone(),
            volumes: self.volume.clone(),
            service: self.serving.service().map(Box::new),
            health: self.serving.health().map(Box::new),
            ..TaskInfo::new(task_id()?, bundle.digest, self.resources(manifest))
        };
        Ok(Order {
            bundle,
            task,
            role: self.role.clone(),
        })
    }

    fn resources(&self, manifest: Option<&Manifest>) -> Resources {
        let said = manifest
            .map(|manifest| manifest.resources.clone())
            .unwrap_or_default();
        let cpus = self.cpus.or(said.cpus).unwrap_or(DEFAULT_CPU_MILLI);
        let mem = self.mem.or(said.mem).unwrap_or(DEFAULT_MEM_BYTES);
        let disk = self.disk.or(said.disk).unwrap_or(DEFAULT_DISK_BYTES);
        let resources = Resources::new(cpus, mem).with_disk(disk);
        let resources = match self.serving.port {
            Some(port) => one_port(resources, port),
            None => resources,
        };
        if self.revocable {
            resources.with_revocable_cpu()
        } else {
            resources
        }
    }

    fn limits(&self, manifest: Option<&Manifest>) -> Limits {
        let said = manifest
            .map(|manifest| manifest.limits.clone())
            .unwrap_or_default();
        Limits {
            fuel: self.fuel.or(said.fuel),
            timeout: self.timeout.or(said.timeout),
            output_bytes: said.output,
            files: said.files,
            burst: self.burst || (said.burst && !self.revocable),
            metering: self.metering.map_or(said.metering, Metering::from),
        }
    }
}

const DEFAULT_CPU_MILLI: u64 = 1000;
const DEFAULT_MEM_BYTES: u64 = 128 << 20;
const DEFAULT_DISK_BYTES: u64 = 64 << 20;

/// Wasm programs take their arguments as UTF-8.
fn text(argument: &OsString) -> Result<String, Failure> {
    let text = argument.to_str().filter(|text| !text.contains('\0'));
    text.map(str::to_owned)
        .ok_or_else(|| Failure::said(format!("the argument {argument:?} is not UTF-8")))
}

/// A name that tells people which process it was; a framework of one task needs no better.
fn task_id() -> Result<nesos_types::ids::TaskId, Failure> {
    let text = format!("run-{}", std::process::id());
    text.parse()
        .map_err(|error| Failure::new("cannot name the task", error))
}

/// Before there was a task to kill.
fn killed_by(signal: Received) -> ExitCode {
    output::complain(&format!("killed by {}", signal.name));
    ExitCode::from(128 + signal.number)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::Cli;
    use crate::commands::Command;

    fn parse(args: &[&str]) -> Result<Box<Run>, clap::Error> {
        let args = ["nesos", "run"].iter().chain(args);
        match Cli::try_parse_from(args)?.command {
            Command::Run(run) => Ok(run),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everything_after_the_file_is_the_programs() {
        for args in [
            &["x.wasm", "--cpus", "7", "-e", "--"][..],
            &["x.wasm", "-h", "--help", "--version"],
            &["x.wasm", "--", "y"],
        ] {
            let run = parse(args).expect("parses");
            assert_eq!(run.program, args, "{args:?}");
            assert_eq!(run.cpus, None, "{args:?}");
        }
    }

    #[test]
    fn options_before_the_file_are_ours() {
        let run = parse(&[
            "--cpus",
            "0.5",
            "--mem=1GiB",
            "--fuel",
            "9",
            "--timeout",
            "30s",
            "--burst",
            "--metering",
            "fuel",
            "--env",
            "A=1",
            "-e",
            "B=2",
            "--role",
            "a/b",
            "x.wasm",
        ])
        .expect("parses");
        assert_eq!(
            run.resources(None),
            Resources::new(500, 1 << 30).with_disk(64 << 20)
        );
        let limits = run.limits(None);
        assert_eq!(limits.fuel, Some(9));
        assert_eq!(limits.timeout, Some(Duration::from_secs(30)));
        assert!(limits.burst);
        assert_eq!(limits.metering, Metering::Fuel);
        assert_eq!(run.env.len(), 2);
        assert_eq!(run.role.as_str(), "a/b");
    }

    #[test]
    fn a_service_has_its_port() {
        let run = parse(&["--port", "8080", "--health-tcp", "x.wasm"]).expect("parses");
        assert!(run.serving.service().is_some() && run.serving.health().is_some());
        assert!(
            run.resources(None).to_string().contains("ports [8080]"),
            "{}",
            run.resources(None)
        );
        let run = parse(&["x.wasm"]).expect("parses");
        assert!(run.serving.service().is_none() && run.serving.health().is_none());
    }

    #[test]
    fn what_is_revocable_is_cpu_alone() {
        let run = parse(&["--revocable", "--cpus", "0.5", "x.wasm"]).expect("parses");
        let resources = run.resources(None);
        assert_eq!(resources.revocable_cpu_milli(), 500);
        assert_eq!(
            resources.unclaimed(),
            Resources::new(0, 128 << 20).with_disk(64 << 20)
        );
    }

    #[test]
    fn what_the_manifest_says_is_the_default() {
        let text = "name = 'a'\nargs = ['x']\n[env]\nA = '1'\nB = '2'\n[resources]\ncpus = 0.25\nmem = '1MiB'\n\
                    [limits]\nfuel = 7\nburst = true\nmetering = 'fuel'";
        let manifest = Manifest::parse(text.as_bytes()).expect("a manifest");
        let order = |args: &[&str]| {
            let reference = "a".parse().expect("a reference");
            let bundle = Bundle::stored(&reference, nesos_types::bundle::Digest([7; 32]));
            let run = parse(args).expect("parses");
            run.order(bundle, Some(&manifest)).expect("an order").task
        };
        let task = order(&["a"]);
        assert_eq!(
            task.resources,
            Resources::new(250, 1 << 20).with_disk(64 << 20)
        );
        assert_eq!((task.limits.fuel, task.limits.burst), (Some(7), true));
        assert_eq!(task.limits.metering, Metering::Fuel);
        assert_eq!(task.args, ["a", "x"]);
        assert_eq!(
            task.repository.map(|name| name.to_string()).as_deref(),
            Some("a")
        );
        let task = order(&[
            "--cpus",
            "2",
            "--fuel",
            "9",
            "--metering",
            "clock",
            "-e",
            "A=3",
            "a",
            "y",
        ]);
        assert_eq!(task.resources.cpu_milli, 2000);
        assert_eq!(
            (task.limits.fuel, task.limits.metering),
            (Some(9), Metering::Clock)
        );
        assert_eq!(task.args, ["a", "y"]);
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(task.env, [variable("B", "2"), variable("A", "3")]);
    }

    #[test]
    fn what_is_no_task_is_not_run_as_one() {
        for (kind, args, words) in [
            ("executor", &["a"][..], Some("framework")),
            ("policy", &["a"], Some("nesos policy set")),
            ("service", &["a"], Some("--port")),
            ("service", &["--port", "80", "a"], None),
            ("command", &["a"], None),
        ] {
            let text = format!("name = 'a'\nkind = '{kind}'");
            let manifest = Manifest::parse(text.as_bytes()).expect("a manifest");
            let why = parse(args).expect("parses").no_task(&manifest);
            assert_eq!(why.is_some(), words.is_some(), "{kind} {args:?}: {why:?}");
            assert!(why.unwrap_or_default().contains(words.unwrap_or_default()));
        }
    }

    #[test]
    fn volumes_that_are_wanted_and_not_given_are_named() {
        let text = "name = 'a'\n[[capabilities.volumes]]\nname = 'd'\nguest = '/d'\n\
                    [[capabilities.volumes]]\nname = 'r'\nguest = '/r'\nread_only = true";
        let manifest = Manifest::parse(text.as_bytes()).expect("a manifest");
        let hints = |args: &[&str]| parse(args).expect("parses").not_given(Some(&manifest));
        let both = hints(&["a"]);
        assert!(both[0].contains("--volume d::/d "), "{both:?}");
        assert!(both[1].contains("--volume r::/r:ro "), "{both:?}");
        let given = ["--volume", "other::/d", "--volume", "r::/r", "a"];
        assert!(hints(&given).is_empty(), "{:?}", hints(&given));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (args, words) in [
            (&["--cpus", "0", "x"][..], "--cpus"),
            (&["--cpus", "-1", "x"], "negative"),
            (&["--cpus", "NaN", "x"], "number"),
            (&["--mem", "0", "x"], "--mem"),
            (&["--timeout", "soon", "x"], "--timeout"),
            (&["--metering", "vibes", "x"], "--metering"),
            (&["--role", "a b", "x"], "whitespace"),
            (&["--revocable", "--burst", "x"], "--burst"),
            (&["--health-tcp", "x"], "--port"),
            (&["--fly", "x"], "--fly"),
            (&[], "FILE"),
        ] {
            let error = parse(args).expect_err("nonsense").to_string();
            assert!(error.contains(words), "{args:?}: {error}");
        }
    }
}
