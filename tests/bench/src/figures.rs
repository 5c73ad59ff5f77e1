//! The benchmarks: one file for each figure that is promised.

use anyhow::Result;

use crate::Options;
use crate::figure::Report;

mod allocation;
mod cpu_share;
mod delay;
mod density;
mod failover;
mod http;
mod idle;
mod latency;
mod message;
mod metering;
mod policy;
mod push;
mod registry;
mod restart;
mod returns;
mod run;
mod sim;
mod spawn;
mod start;
mod throughput;
mod updates;

/// A benchmark: its name, what it is about, and how to run it.
pub(crate) struct Benchmark {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(Options, &mut Report) -> Result<()>,
}

/// All benchmarks, in the order in which `all` runs them.
pub(crate) const BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        name: "cpu-share",
        about: "The CPU that guests get, against what they accepted",
        run: cpu_share::run,
    },
    Benchmark {
        name: "metering",
        about: "What metering adds to a guest at full share",
        run: metering::run,
    },
    Benchmark {
        name: "start",
        about: "From a launch inside a cell to the guest's first instruction",
        run: start::run,
    },
    Benchmark {
        name: "spawn",
        about: "From an executor's spawn to its child's first instruction, and a crowd of children",
        run: spawn::run,
    },
    Benchmark {
        name: "restart",
        about: "The first task of a known bundle after its agent was killed and started again",
        run: restart::run,
    },
    Benchmark {
        name: "return",
        about: "Agents that come back, after their own death and after their master's",
        run: returns::run,
    },
    Benchmark {
        name: "throughput",
        about: "CPU that a no-op task costs over all processes, and tasks a second",
        run: throughput::run,
    },
    Benchmark {
        name: "updates",
        about: "Status updates through an agent, with its checkpoint and without",
        run: updates::run,
    },
    Benchmark {
        name: "latency",
        about: "From submitting a no-op task to knowing that it has ended",
        run: latency::run,
    },
    Benchmark {
        name: "message",
        about: "From a scheduler's message to an executor until its answer is there",
        run: message::run,
    },
    Benchmark {
        name: "push",
        about: "Pushing a large bundle, against copying and hashing it",
        run: push::run,
    },
    Benchmark {
        name: "run",
        about: "`nesos run` on a running cluster, against the `wasmtime` command",
        run: run::run,
    },
    Benchmark {
        name: "http",
        about: "A service that greets, against `wasmtime serve`",
        run: http::run,
    },
    Benchmark {
        name: "idle",
        about: "Memory of an idle master, agent and cell",
        run: idle::run,
    },
    Benchmark {
        name: "density",
        about: "Sleeping guests of one role on one agent",
        run: density::run,
    },
    Benchmark {
        name: "allocation",
        about: "What the master's decisions cost, on the core alone",
        run: allocation::run,
    },
    Benchmark {
        name: "registry",
        about: "Operations a second of the master's registry, in a file and in an etcd",
        run: registry::run,
    },
    Benchmark {
        name: "failover",
        about: "From the leader's end until another leads and all agents are back",
        run: failover::run,
    },
    Benchmark {
        name: "delay",
        about: "Tasks that run where their data is, against how long frameworks wait",
        run: delay::run,
    },
    Benchmark {
        name: "policy",
        about: "Allocation by a policy plug-in, against the same policy built in",
        run: policy::run,
    },
    Benchmark {
        name: "sim",
        about: "Events that the simulator handles in a second of CPU",
        run: sim::run,
    },
];
