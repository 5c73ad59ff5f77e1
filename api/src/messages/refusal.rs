//! Refusals, to and from the wire.

use nesos_types::message::Refusal;

use crate::v1;
use crate::wire_error::{WireError, parse};

impl From<&Refusal> for v1::Refusal {
    fn from(refusal: &Refusal) -> Self {
        use v1::RefusalCode as Code;
        let (code, subject) = match refusal {
            Refusal::FailedOver => (Code::FailedOver, String::new()),
            Refusal::FrameworkRemoved { framework } => {
                (Code::FrameworkRemoved, framework.to_string())
            }
            Refusal::FrameworkUnknown { framework } => {
                (Code::FrameworkUnknown, framework.to_string())
            }
            Refusal::PrincipalMismatch { framework } => {
                (Code::PrincipalMismatch, framework.to_string())
            }
            Refusal::NotSubscribed => (Code::NotSubscribed, String::new()),
            Refusal::InvalidCall { call, .. } => (Code::InvalidCall, call.clone()),
            Refusal::UnknownMessage { what } => (Code::UnknownMessage, what.clone()),
            Refusal::TooSlow => (Code::TooSlow, String::new()),
            Refusal::AgentRemoved { agent } => (Code::AgentRemoved, agent.to_string()),
            Refusal::AgentReplaced { agent } => (Code::AgentReplaced, agent.to_string()),
            Refusal::AgentShrunk { agent, .. } => (Code::AgentShrunk, agent.to_string()),
        };
        let (reserved, offered) = match refusal {
            Refusal::AgentShrunk {
                reserved, offered, ..
            } => (reserved.clone(), offered.clone()),
            _ => <(String, String)>::default(),
        };
        let why = match refusal {
            Refusal::InvalidCall { why, .. } => why.clone(),
            other => other.to_string(),
        };
        Self {
            code: code.into(),
            subject,
            why,
            reserved,
            offered,
        }
    }
}

impl TryFrom<v1::Refusal> for Refusal {
    type Error = WireError;
    fn try_from(wire: v1::Refusal) -> Result<Self, WireError> {
        use v1::RefusalCode as Code;
        let code = wire.code();
        let subject = wire.subject;
        Ok(match code {
            Code::Unspecified => return Err(WireError::UnknownMessage("Refusal.code")),
            Code::FailedOver => Self::FailedOver,
            Code::FrameworkRemoved => Self::FrameworkRemoved {
                framework: parse("refusal.subject", &subject)?,
            },
            Code::FrameworkUnknown => Self::FrameworkUnknown {
                framework: parse("refusal.subject", &subject)?,
            },
            Code::PrincipalMismatch => Self::PrincipalMismatch {
                framework: parse("refusal.subject", &subject)?,
            },
            Code::NotSubscribed => Self::NotSubscribed,
            Code::InvalidCall => Self::InvalidCall {
                call: subject,
                why: wire.why,
            },
            Code::UnknownMessage => Self::UnknownMessage { what: subject },
            Code::TooSlow => Self::TooSlow,
            Code::AgentRemoved => Self::AgentRemoved {
                agent: parse("refusal.subject", &subject)?,
            },
            Code::AgentReplaced => Self::AgentReplaced {
                agent: parse("refusal.subject", &subject)?,
            },
            Code::AgentShrunk => Self::AgentShrunk {
                agent: parse("refusal.subject", &subject)?,
                reserved: wire.reserved,
                offered: wire.offered,
            },
        })
    }
}
