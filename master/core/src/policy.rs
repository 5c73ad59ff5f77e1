//! The policy as operators choose it: changed at run time, kept in the registry, and told of when a
//! plug-in fails. Which client is served next, the policies themselves decide.

use nesos_types::bundle::Digest;
use nesos_types::time::Time;
use serde::{Deserialize, Serialize};

use crate::agents::Link;
use crate::allocator::drf::{Drf, Order};
use crate::allocator::plugin::{Plugin, PolicyFault, PolicyGuest};
use crate::allocator::policy::Policy;
use crate::config::{BuiltInPolicy, MasterConfig, Preemption};
use crate::decision::{Decisions, Happening, Record};
use crate::master::Master;
use crate::registry::Registry;
use crate::snapshot::PolicyView;

/// A policy that an operator has chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyChoice {
    /// One that the master has.
    BuiltIn(BuiltInPolicy),
    /// One that was uploaded.
    Plugin {
        /// What it is called, for people.
        name: String,
        /// The component, among the master's bundles.
        digest: Digest,
    },
    /// Strict priority that ends tasks of lower priority.
    Preemptive(Preemption),
}

/// A policy that is to decide from now on.
#[derive(Debug)]
pub enum NewPolicy {
    /// One that the master has.
    BuiltIn(BuiltInPolicy),
    /// A plug-in.
    Plugin {
        /// What it is called, for people.
        name: String,
        /// The component, among the master's bundles.
        digest: Digest,
        /// The plug-in, which was told nothing yet.
        guest: Box<dyn PolicyGuest>,
    },
    /// Strict priority that ends tasks of lower priority.
    Preemptive(Preemption),
}

/// The policy of a master that starts. A plug-in decides as soon as the driver has loaded it.
pub(crate) fn initial_policy(
    config: &MasterConfig,
    registry: &Registry,
    now: Time,
) -> Box<dyn Policy> {
    match registry.policy() {
        None => built_in(config.policy, config),
        Some(PolicyChoice::BuiltIn(policy)) => built_in(*policy, config),
        Some(PolicyChoice::Preemptive(_)) => built_in(BuiltInPolicy::Priority, config),
        Some(PolicyChoice::Plugin { name, digest }) => {
            let fault = PolicyFault::NotLoaded("the master is starting".to_owned());
            plugin(name.clone(), *digest, now, Err(fault), config)
        }
    }
}

fn built_in(policy: BuiltInPolicy, config: &MasterConfig) -> Box<dyn Policy> {
    Box::new(Drf::new(
        policy.into(),
        config.fair_sharing_excluded.clone(),
    ))
}

fn plugin(
    name: String,
    digest: Digest,
    now: Time,
    guest: Result<Box<dyn PolicyGuest>, PolicyFault>,
    config: &MasterConfig,
) -> Box<dyn Policy> {
    let fallback = Drf::new(Order::Fair, config.fair_sharing_excluded.clone());
    Box::new(Plugin::new(name, digest, now, guest, fallback))
}

/// Tells a policy what is decided of roles.
pub(crate) fn configure_policy(
    policy: &mut dyn Policy,
    config: &MasterConfig,
    registry: &Registry,
) {
    for role in config.weights.keys() {
        policy.configure(role, &config.role_settings(role));
    }
    for (role, settings) in registry.roles() {
        policy.configure(role, settings);
    }
}

impl Master {
    /// Lets another policy decide from now on. An operator has asked for it; it is kept over restarts.
    ///
    /// The policy hears first of everything that there is.
    pub fn set_policy(&mut self, now: Time, policy: NewPolicy, out: &mut Decisions) {
        self.now = self.now.max(now);
        let (choice, policy) = match policy {
            NewPolicy::BuiltIn(policy) => (
                PolicyChoice::BuiltIn(policy),
                built_in(policy, &self.config),
            ),
            NewPolicy::Preemptive(preemption) => (
                PolicyChoice::Preemptive(preemption),
                built_in(BuiltInPolicy::Priority, &self.config),
            ),
            NewPolicy::Plugin {
                name,
                digest,
                guest,
            } => (
                PolicyChoice::Plugin {
                    name: name.clone(),
                    digest,
                },
                plugin(name, digest, self.now, Ok(guest), &self.config),
            ),
        };
        if self.registry.policy() != Some(&choice) {
            self.record(Record::PolicySet { policy: choice }, out);
        }
        self.exchange_policy(policy, out);
    }

    /// What operators see of the policy.
    #[must_use]
    pub fn policy(&self) -> PolicyView {
        PolicyView {
            preemption: self.preemption(),
            ..self.allocator.policy.view()
        }
    }

    /// Whether tasks are ended for demands of higher priority, and how.
    pub(crate) fn preemption(&self) -> Option<Preemption> {
        match self.registry.policy() {
            Some(PolicyChoice::Preemptive(preemption)) => Some(*preemption),
            Some(_) => None,
            None => self
                .config
                .preemption
                .filter(|_| self.config.policy == BuiltInPolicy::Priority),
        }
    }

    /// The plug-in that the records of a master that starts ask for.
    #[must_use]
    pub fn chosen_plugin(&self) -> Option<Digest> {
        match self.registry.policy()? {
            PolicyChoice::BuiltIn(_) | PolicyChoice::Preemptive(_) => None,
            PolicyChoice::Plugin { digest, .. } => Some(*digest),
        }
    }

    /// Hands in the plug-in that [`chosen_plugin`](Self::chosen_plugin) asks for, or why it cannot be
    /// loaded. To be called before the first event.
    pub fn restore_plugin(&mut self, loaded: Result<Box<dyn PolicyGuest>, String>) {
        if let Some(PolicyChoice::Plugin { name, digest }) = self.registry.policy() {
            let guest = loaded.map_err(PolicyFault::NotLoaded);
            let policy = plugin(name.clone(), *digest, self.now, guest, &self.config);
            // Nobody watches yet.
            self.exchange_policy(policy, &mut Decisions::default());
        }
    }

    fn exchange_policy(&mut self, mut policy: Box<dyn Policy>, out: &mut Decisions) {
        self.replay(policy.as_mut());
        // Now rather than in the next allocation: whoever sets a policy that cannot do even this is told.
        policy.catch_up();
        self.allocator.policy = policy;
        self.count_policy();
        out.observed(Happening::PolicyChanged(self.policy()));
        self.allocate_afresh();
    }

    /// Tells a new policy of roles, agents, clients and what they hold.
    fn replay(&self, policy: &mut dyn Policy) {
        configure_policy(policy, &self.config, &self.registry);
        let agents = self.agents.iter().map(|(_, agent)| agent);
        for agent in agents.filter(|agent| agent.link != Link::Recovered) {
            policy.grow(&agent.info.resources);
        }
        for (slot, client) in self.allocator.clients.iter() {
            policy.add(slot, &client.role);
            policy.set_wanting(slot, client.blocked().is_none());
        }
        let tasks = self.tasks.iter().map(|(_, task)| task);
        for task in tasks.filter(|task| task.holds()) {
            policy.charge(task.client, &task.info.resources);
        }
        for (_, offer) in self.offers.iter() {
            policy.charge(offer.client, &offer.resources);
        }
    }

    /// Counts what the policy has done, and tells of its fault if it has failed.
    pub(crate) fn note_policy(&mut self, out: &mut Decisions) {
        if self.count_policy().is_some() {
            out.observed(Happening::PolicyChanged(self.policy()));
        }
    }

    fn count_policy(&mut self) -> Option<PolicyFault> {
        let account = self.allocator.policy.take_account();
        self.stats.policy_turns += account.turns;
        self.stats.policy_fuel += account.fuel;
        self.stats.policy_faults += u64::from(account.fault.is_some());
        account.fault
    }
}
