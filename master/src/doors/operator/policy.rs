//! Setting the policy: what an operator asks for, made a policy that can decide.

use std::time::Duration;

use nesos_api::v1;
use nesos_api::v1::set_policy_request::Policy;
use nesos_master_core::snapshot::PolicyView;
use nesos_master_core::{BuiltInPolicy, NewPolicy, Preemption};
use tonic::Status;

use super::parse;
use crate::policy::{LoadError, in_full, load_bundle};
use crate::registry::blobs::Blobs;

/// The most characters of a plug-in's name.
const MAX_NAME: usize = 128;

/// The policy that a request names. Compiles a plug-in, where that holds up nobody.
pub(super) async fn requested(
    request: v1::SetPolicyRequest,
    bundles: &Blobs,
) -> Result<NewPolicy, Status> {
    let preemption = request.preemption;
    match request.policy {
        Some(Policy::BuiltIn(name)) => match (built_in(&name)?, preemption) {
            (policy, None) => Ok(NewPolicy::BuiltIn(policy)),
            (BuiltInPolicy::Priority, Some(asked)) => Ok(NewPolicy::Preemptive(Preemption {
                grace: asked.grace_us.map(Duration::from_micros),
            })),
            (BuiltInPolicy::Drf, Some(_)) => Err(not_preemptive()),
        },
        Some(Policy::Plugin(_)) if preemption.is_some() => Err(not_preemptive()),
        Some(Policy::Plugin(asked)) => plugin(asked, bundles).await,
        None => Err(Status::invalid_argument(
            "policy: say a built-in policy or a plug-in",
        )),
    }
}

fn not_preemptive() -> Status {
    Status::invalid_argument(
        "preemption: only the policy \"priority\" ends tasks for others; leave it out, or set that policy",
    )
}

fn built_in(name: &str) -> Result<BuiltInPolicy, Status> {
    let all = [BuiltInPolicy::Drf, BuiltInPolicy::Priority];
    all.into_iter()
        .find(|policy| policy.to_string() == name)
        .ok_or_else(|| {
            Status::invalid_argument(format!(
                "built_in: there is no policy {name:?}; there are {} and {}",
                all[0], all[1]
            ))
        })
}

async fn plugin(asked: v1::PolicyPlugin, bundles: &Blobs) -> Result<NewPolicy, Status> {
    let v1::PolicyPlugin { name, digest } = asked;
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Status::invalid_argument(format!(
            "plugin.name: 1 to {MAX_NAME} printable characters"
        )));
    }
    let digest = parse("plugin.digest", &digest)?;
    let guest = load_bundle(bundles, digest).await;
    let guest = guest.map_err(|error| status_of(&error))?;
    Ok(NewPolicy::Plugin {
        name,
        digest,
        guest,
    })
}

fn status_of(error: &LoadError) -> Status {
    let text = in_full(error);
    match error {
        LoadError::NotThere(_) => Status::not_found(text),
        LoadError::Policy(_) => Status::invalid_argument(text),
        LoadError::Store(_) | LoadError::Lost(_) => Status::internal(text),
    }
}

/// The policy as the wire has it.
pub(super) fn state(view: &PolicyView) -> v1::PolicyState {
    v1::PolicyState {
        name: view.name.clone(),
        digest: view.digest.map(|digest| digest.to_string()),
        fault: view.fault.clone(),
        preemption: view.preemption.map(|preemption| v1::Preemption {
            grace_us: preemption.grace.map(nesos_api::to_micros),
        }),
    }
}
