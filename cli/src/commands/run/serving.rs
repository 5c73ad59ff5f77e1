//! What `nesos run` can say of a program that serves: its port, the limits of a request, how its health is checked.

use std::time::Duration;

use clap::{ArgGroup, Args};
use nesos_types::service::{HealthCheck, Probe, Service};

use crate::amounts;

/// Everything that goes with `--port`.
#[derive(Debug, Default, Args)]
#[command(group = ArgGroup::new("health").requires("port"))]
pub(super) struct ServiceOptions {
    /// Serve HTTP on this port, for a program that exports wasi:http/incoming-handler, until Ctrl-C
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// Requests that a service answers at the same time; more wait
    #[arg(long, value_name = "N", requires = "port", value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: Option<u32>,
    /// Wall-clock time after which a service's request is ended, or `none` [default: 30s]
    #[arg(long, value_name = "TIME", requires = "port", value_parser = request_timeout)]
    request_timeout: Option<RequestTimeout>,
    /// CPU time after which a service's request is ended
    #[arg(long, value_name = "TIME", requires = "port", allow_negative_numbers = true, value_parser = cpu_limit)]
    request_cpu: Option<Duration>,
    /// Requests that one instance of a service answers, one after another
    #[arg(long, value_name = "N", requires = "port", value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_instance: Option<u32>,
    /// Memory that one instance of a service may use; all of them have --mem
    #[arg(long, value_name = "SIZE", requires = "port", allow_negative_numbers = true, value_parser = amounts::size)]
    instance_mem: Option<u64>,
    /// Check a service's health by a GET of this path: well if the answer is 200 to 399
    #[arg(long, value_name = "PATH", group = "health", value_parser = path)]
    health_http: Option<String>,
    /// Check a service's health by a connection to its port
    #[arg(long, group = "health")]
    health_tcp: bool,
    /// Check a service's health by its exported function `healthy` of nesos:guest/health
    #[arg(long, group = "health")]
    health_call: bool,
    #[command(flatten)]
    times: HealthTimes,
}

/// When a health check is made, and what comes of it.
#[derive(Debug, Default, Args)]
struct HealthTimes {
    /// From the start of a service to the first check of its health [default: 15s]
    #[arg(long, value_name = "TIME", requires = "health", allow_negative_numbers = true, value_parser = amounts::duration)]
    health_delay: Option<Duration>,
    /// From the end of one check to the next [default: 10s]
    #[arg(long, value_name = "TIME", requires = "health", allow_negative_numbers = true, value_parser = pause)]
    health_interval: Option<Duration>,
    /// How long a check may take; one that takes longer has failed [default: 20s]
    #[arg(long, value_name = "TIME", requires = "health", allow_negative_numbers = true, value_parser = pause)]
    health_timeout: Option<Duration>,
    /// How long after the delay failures do not count, until the first success [default: 10s]
    #[arg(long, value_name = "TIME", requires = "health", allow_negative_numbers = true, value_parser = amounts::duration)]
    health_grace: Option<Duration>,
    /// So many failed checks in a row end the service [default: 3]
    #[arg(long, value_name = "N", requires = "health", value_parser = clap::value_parser!(u32).range(1..))]
    health_failures: Option<u32>,
}

/// The most time of one request; none if it has all the time that there is.
#[derive(Clone, Copy, Debug)]
struct RequestTimeout(Option<Duration>);

fn request_timeout(text: &str) -> Result<RequestTimeout, String> {
    if text == "none" {
        return Ok(RequestTimeout(None));
    }
    amounts::time_limit(text).map(|limit| RequestTimeout(Some(limit)))
}

fn cpu_limit(text: &str) -> Result<Duration, String> {
    match amounts::duration(text)? {
        Duration::ZERO => Err("without any CPU time no request would be answered".into()),
        limit => Ok(limit),
    }
}

fn pause(text: &str) -> Result<Duration, String> {
    match amounts::duration(text)? {
        Duration::ZERO => {
            Err("a time of zero leaves none for a check; write for example 5s".into())
        }
        time => Ok(time),
    }
}

fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') && !text.contains(char::is_whitespace) {
        return Ok(text.to_owned());
    }
    Err("a path begins with a slash and has no spaces, such as /health".into())
}

impl ServiceOptions {
    /// The service, if the program is one.
    pub(super) fn service(&self) -> Option<Service> {
        let service = Service::at(self.port?);
        let timeout = self.request_timeout.map(|RequestTimeout(timeout)| timeout);
        Some(Service {
            concurrency: self.concurrency.unwrap_or(service.concurrency),
            request_timeout: timeout.unwrap_or(service.request_timeout),
            request_cpu: self.request_cpu,
            requests_per_instance: self
                .requests_per_instance
                .unwrap_or(service.requests_per_instance),
            instance_mem_bytes: self.instance_mem,
            ..service
        })
    }

    /// How its health is checked, if it is.
    pub(super) fn health(&self) -> Option<HealthCheck> {
        let (check, times) = (HealthCheck::by(self.probe()?), &self.times);
        Some(HealthCheck {
            delay: times.health_delay.unwrap_or(check.delay),
            interval: times.health_interval.unwrap_or(check.interval),
            timeout: times.health_timeout.unwrap_or(check.timeout),
            grace: times.health_grace.unwrap_or(check.grace),
            failures: times.health_failures.unwrap_or(check.failures),
            ..check
        })
    }

    fn probe(&self) -> Option<Probe> {
        let port = self.port?;
        match &self.health_http {
            Some(path) => Some(Probe::Http {
                port,
                path: path.clone(),
            }),
            None if self.health_tcp => Some(Probe::Tcp { port }),
            None => self.health_call.then_some(Probe::Call),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn parse(args: &str) -> Result<ServiceOptions, clap::Error> {
        let command = ServiceOptions::augment_args(Command::new("run"));
        let words = std::iter::once("run").chain(args.split_whitespace());
        ServiceOptions::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    #[test]
    fn a_port_makes_a_service() {
        assert_eq!(parse("").expect("nothing").service(), None);
        let plain = parse("--port 8080").expect("a port");
        assert_eq!(plain.service(), Some(Service::at(8080)));
        assert_eq!(plain.health(), None);
        let limits = "--port 1 --concurrency=3 --request-timeout=none --request-cpu 50ms \
                      --requests-per-instance=9 --instance-mem 8MiB";
        let service = parse(limits).expect("limits").service();
        let expected = Service {
            concurrency: 3,
            request_timeout: None,
            request_cpu: Some(Duration::from_millis(50)),
            requests_per_instance: 9,
            instance_mem_bytes: Some(8 << 20),
            ..Service::at(1)
        };
        assert_eq!(service, Some(expected));
    }

    #[test]
    fn health_is_checked_in_one_way() {
        let health = |args: &str| parse(args).expect("a check").health();
        let (port, path) = (80, "/health".to_owned());
        for (args, probe) in [
            (
                "--port 80 --health-http /health",
                Probe::Http { port, path },
            ),
            ("--port 80 --health-tcp", Probe::Tcp { port }),
            ("--port 80 --health-call", Probe::Call),
        ] {
            assert_eq!(health(args), Some(HealthCheck::by(probe)), "{args}");
        }
        let times = "--port 80 --health-tcp --health-delay 0 --health-interval 1s \
                     --health-timeout 2s --health-grace 3s --health-failures 4";
        let seconds = Duration::from_secs;
        let expected = HealthCheck {
            probe: Probe::Tcp { port },
            delay: seconds(0),
            interval: seconds(1),
            timeout: seconds(2),
            grace: seconds(3),
            failures: 4,
        };
        assert_eq!(health(times), Some(expected));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (args, words) in [
            ("--port 0", "--port"),
            ("--port 70000", "--port"),
            ("--concurrency 3", "--port"),
            ("--request-cpu 1s", "--port"),
            ("--instance-mem 1MiB", "--port"),
            ("--health-tcp", "--port"),
            ("--port 1 --request-cpu 0", "no request would be answered"),
            ("--port 1 --request-cpu -1", "--request-cpu"),
            ("--port 1 --instance-mem 0", "--instance-mem"),
            ("--port 1 --health-interval 1s", "--health-http"),
            ("--port 1 --health-tcp --health-call", "cannot be used"),
            ("--port 1 --health-tcp --health-http /x", "cannot be used"),
            ("--port 1 --health-http health", "begins with a slash"),
            (
                "--port 1 --health-tcp --health-interval 0",
                "write for example 5s",
            ),
            (
                "--port 1 --health-tcp --health-timeout 0",
                "write for example 5s",
            ),
            (
                "--port 1 --health-tcp --health-failures 0",
                "--health-failures",
            ),
            (
                "--port 1 --health-tcp --health-grace soon",
                "--health-grace",
            ),
        ] {
            let error = parse(args).expect_err("nonsense").to_string();
            assert!(error.contains(words), "{args:?}: {error}");
        }
    }
}
