//! Services and health checks, to and from the wire.

use std::time::Duration;

use nesos_types::service::{HealthCheck, Probe, Service};

use crate::common::to_micros;
use crate::v1;
use crate::wire_error::{WireError, required};

impl From<&Service> for v1::Service {
    fn from(service: &Service) -> Self {
        Self {
            port: service.port.into(),
            requests_per_instance: service.requests_per_instance,
            concurrency: service.concurrency,
            request_cpu_us: service.request_cpu.map(to_micros),
            request_timeout_us: service.request_timeout.map(to_micros),
            instance_mem_bytes: service.instance_mem_bytes,
        }
    }
}

impl TryFrom<v1::Service> for Service {
    type Error = WireError;
    fn try_from(wire: v1::Service) -> Result<Self, WireError> {
        Ok(Self {
            port: port("service.port", wire.port)?,
            requests_per_instance: wire.requests_per_instance,
            concurrency: wire.concurrency,
            request_cpu: wire.request_cpu_us.map(Duration::from_micros),
            request_timeout: wire.request_timeout_us.map(Duration::from_micros),
            instance_mem_bytes: wire.instance_mem_bytes,
        })
    }
}

impl From<&HealthCheck> for v1::HealthCheck {
    fn from(check: &HealthCheck) -> Self {
        Self {
            probe: Some((&check.probe).into()),
            delay_us: to_micros(check.delay),
            interval_us: to_micros(check.interval),
            timeout_us: to_micros(check.timeout),
            failures: check.failures,
            grace_us: to_micros(check.grace),
        }
    }
}

impl TryFrom<v1::HealthCheck> for HealthCheck {
    type Error = WireError;
    fn try_from(wire: v1::HealthCheck) -> Result<Self, WireError> {
        Ok(Self {
            probe: required("health.probe", wire.probe)?.try_into()?,
            delay: Duration::from_micros(wire.delay_us),
            interval: Duration::from_micros(wire.interval_us),
            timeout: Duration::from_micros(wire.timeout_us),
            failures: wire.failures,
            grace: Duration::from_micros(wire.grace_us),
        })
    }
}

impl From<&Probe> for v1::health_check::Probe {
    fn from(probe: &Probe) -> Self {
        match probe {
            Probe::Http { port, path } => Self::Http(v1::HttpProbe {
                port: (*port).into(),
                path: path.clone(),
            }),
            Probe::Tcp { port } => Self::Tcp(v1::TcpProbe {
                port: (*port).into(),
            }),
            Probe::Call => Self::Call(v1::CallProbe {}),
        }
    }
}

impl TryFrom<v1::health_check::Probe> for Probe {
    type Error = WireError;
    fn try_from(wire: v1::health_check::Probe) -> Result<Self, WireError> {
        use v1::health_check::Probe as Wire;
        Ok(match wire {
            Wire::Http(probe) => Self::Http {
                port: port("health.http.port", probe.port)?,
                path: probe.path,
            },
            Wire::Tcp(probe) => Self::Tcp {
                port: port("health.tcp.port", probe.port)?,
            },
            Wire::Call(v1::CallProbe {}) => Self::Call,
        })
    }
}

fn port(field: &'static str, number: u32) -> Result<u16, WireError> {
    u16::try_from(number)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| WireError::Invalid {
            field,
            why: format!("{number} is not a port"),
        })
}
