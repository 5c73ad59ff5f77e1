//! Wishes: which offers a client wants to see at all. Constraints say what agents must be like, a minimum
//! says what is worth its while, demands say what it waits for. All of them only ever keep offers away.

use std::borrow::Cow;

use nesos_types::agent::{AgentInfo, Attribute};
use nesos_types::constraints::{Constraint, OfferConstraints, Predicate, Selector};
use nesos_types::framework::OfferFilters;
use nesos_types::reservation::Claim;
use nesos_types::resources::Resources;
use regex::{Regex, RegexBuilder};

use crate::config::MasterConfig;
use crate::explain::Blocked;

/// How large a compiled pattern may become, in bytes.
const MAX_COMPILED_BYTES: usize = 64 << 10;

/// Which offers a client wants to see.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    constraints: Option<Constraints>,
    minimum: Option<Vec<Resources>>,
    /// What it waits for, and how many of each; `None` if it never said.
    demand: Option<Vec<(Resources, u32)>>,
    /// Whether it takes what is revocable.
    revocable: bool,
}

impl Wishes {
    /// What a framework says about one of its roles.
    ///
    /// # Errors
    /// In words for whoever wrote the scheduler, if something of it makes no sense.
    pub(crate) fn new(filters: &OfferFilters) -> Result<Self, String> {
        let constraints = filters.constraints.as_ref();
        Ok(Self {
            constraints: constraints.map(Constraints::compile).transpose()?,
            minimum: filters.min_allocatable.clone(),
            demand: None,
            revocable: filters.revocable,
        })
    }

    /// Takes over what was said in a call of its own, and not with the filters.
    pub(crate) fn keep_demand_of(&mut self, before: Self) {
        self.demand = before.demand;
    }

    /// Whether the master's own minimum is not what counts.
    pub(crate) fn has_minimum(&self) -> bool {
        self.minimum.is_some()
    }

    /// Whether the client takes resources that this sets apart.
    pub(crate) fn takes(&self, claim: &Claim) -> bool {
        !claim.revocable || self.revocable
    }

    /// Whether the client has said that it waits for nothing.
    pub(crate) fn wants_nothing(&self) -> bool {
        self.demand.as_ref().is_some_and(Vec::is_empty)
    }

    /// What the client has said that it waits for.
    pub(crate) fn demand(&self) -> &[(Resources, u32)] {
        self.demand.as_deref().unwrap_or_default()
    }

    pub(crate) fn set_demand(&mut self, demand: Option<Vec<(Resources, u32)>>) {
        let amounts = |(wanted, count): (Resources, u32)| (wanted.flattened(), count);
        self.demand = demand.map(|demand| demand.into_iter().map(amounts).collect());
    }

    /// A task was launched on exactly these resources, whatever sets them apart. Answers whether that was
    /// the last thing that the client waited for.
    pub(crate) fn satisfy(&mut self, resources: &Resources) -> bool {
        let Some(demand) = &mut self.demand else {
            return false;
        };
        let amounts = resources.flattened();
        let Some(at) = demand.iter().position(|(wanted, _)| *wanted == amounts) else {
            return false;
        };
        demand[at].1 -= 1;
        if demand[at].1 == 0 {
            demand.remove(at);
        }
        demand.is_empty()
    }

    /// What is wrong with an agent, whatever is free on it.
    pub(crate) fn agent_blocked(&self, agent: &AgentInfo) -> Option<Blocked> {
        let constraints = self.constraints.as_ref()?;
        (!constraints.hold(agent)).then_some(Blocked::Constraint)
    }

    /// What is wrong with these resources.
    pub(crate) fn resources_blocked(
        &self,
        resources: &Resources,
        config: &MasterConfig,
    ) -> Option<Blocked> {
        let is_worth_it = match &self.minimum {
            None => config.is_allocatable(resources),
            Some(one_of) if one_of.is_empty() => !resources.is_empty(),
            Some(one_of) => one_of.iter().any(|minimum| resources.covers(minimum)),
        };
        if !is_worth_it {
            return Some(Blocked::BelowMinimum);
        }
        let demand = self.demand.as_ref()?;
        let fits = demand.iter().any(|(wanted, _)| resources.covers(wanted));
        (!fits).then_some(Blocked::NoDemandFits)
    }
}

/// Constraints, ready to be applied.
#[derive(Debug)]
struct Constraints {
    groups: Vec<Vec<(Selector, Test)>>,
}

#[derive(Debug)]
enum Test {
    Exists,
    NotExists,
    Equals(String),
    NotEquals(String),
    Matches(Regex),
    NotMatches(Regex),
}

impl Constraints {
    fn compile(constraints: &OfferConstraints) -> Result<Self, String> {
        let most = OfferConstraints::MAX_GROUPS;
        let groups = &constraints.groups;
        if groups.len() > most || groups.iter().any(|group| group.len() > most) {
            return Err(format!(
                "there are more than {most} groups of offer constraints, or more than {most} in one of them"
            ));
        }
        let groups = groups
            .iter()
            .map(|group| group.iter().map(compile).collect());
        Ok(Self {
            groups: groups.collect::<Result<_, _>>()?,
        })
    }

    fn hold(&self, agent: &AgentInfo) -> bool {
        self.groups.iter().any(|group| {
            group
                .iter()
                .all(|(selector, test)| test.holds(select(selector, agent).as_deref()))
        })
    }
}

impl Test {
    fn holds(&self, property: Option<&str>) -> bool {
        match (self, property) {
            (Self::Exists, property) => property.is_some(),
            (Self::NotExists, property) => property.is_none(),
            (Self::Equals(_) | Self::Matches(_), None) => false,
            (Self::NotEquals(_) | Self::NotMatches(_), None) => true,
            (Self::Equals(text), Some(property)) => property == text,
            (Self::NotEquals(text), Some(property)) => property != text,
            (Self::Matches(pattern), Some(property)) => pattern.is_match(property),
            (Self::NotMatches(pattern), Some(property)) => !pattern.is_match(property),
        }
    }
}

fn select<'a>(selector: &Selector, agent: &'a AgentInfo) -> Option<Cow<'a, str>> {
    let domain = agent.domain.as_ref();
    match selector {
        Selector::Hostname => Some(agent.hostname.as_str().into()),
        Selector::Region => domain.map(|domain| domain.region.as_str().into()),
        Selector::Zone => domain.map(|domain| domain.zone.as_str().into()),
        Selector::Attribute(name) => match agent.attributes.get(name)? {
            Attribute::Text(text) => Some(text.as_str().into()),
            other => Some(other.to_string().into()),
        },
    }
}

fn compile(constraint: &Constraint) -> Result<(Selector, Test), String> {
    let test = match &constraint.predicate {
        Predicate::Exists => Test::Exists,
        Predicate::NotExists => Test::NotExists,
        Predicate::TextEquals(text) => Test::Equals(text.clone()),
        Predicate::TextNotEquals(text) => Test::NotEquals(text.clone()),
        Predicate::TextMatches(pattern) => Test::Matches(compile_pattern(pattern)?),
        Predicate::TextNotMatches(pattern) => Test::NotMatches(compile_pattern(pattern)?),
    };
    Ok((constraint.selector.clone(), test))
}

/// Compiles a pattern that is to match all of a text, within bounds of time and memory.
fn compile_pattern(pattern: &str) -> Result<Regex, String> {
    let most = OfferConstraints::MAX_PATTERN_BYTES;
    if pattern.len() > most {
        let bytes = pattern.len();
        return Err(format!(
            "a pattern of an offer constraint has {bytes} bytes; the most are {most}"
        ));
    }
    RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(MAX_COMPILED_BYTES)
        .build()
        .map_err(|error| {
            let shown: String = pattern.chars().take(80).collect();
            let why = match error {
                regex::Error::CompiledTooBig(_) => "it is too large when compiled".to_owned(),
                other => other.to_string(),
            };
            format!("the pattern {shown:?} of an offer constraint is not usable: {why}")
        })
}
