//! Plug-ins: policies that are not built in, kept at arm's length.
//!
//! A [`PolicyGuest`] is told everything that a policy is told and names clients; how it runs, the core
//! does not know. Each answer is checked: only known clients that want offers, each once in a turn, and
//! nobody left out. Beside the guest a built-in policy is kept up to date, and from the first fault on
//! it decides, within the very turn in which the guest failed. The guest is then gone until an operator
//! sets a policy again.

use std::borrow::Cow;
use std::fmt;
use std::mem;

use nesos_types::bundle::Digest;
use nesos_types::resources::Resources;
use nesos_types::role::{Role, RoleSettings};
use nesos_types::time::Time;

use super::drf::Drf;
use super::policy::{Account, Policy, Standing};
use super::quantities::Quantities;
use crate::snapshot::PolicyView;
use crate::table::{ClientSlot, Slot};

/// How many changes a guest may be behind before it is made to take them in.
const MOST_BEHIND: usize = 8192;

/// How many clients are asked for when the first can have nothing; twice as many each time after.
const FIRST_BATCH: u32 = 8;
const LARGEST_BATCH: u32 = 1024;

/// A policy that runs elsewhere: in a sandbox, say. It hears of changes in the order in which they
/// happen, and may take them in as late as the next turn.
///
/// A client's number is its own from [`put_client`](Self::put_client) to
/// [`remove_client`](Self::remove_client), and may then be given to another.
pub trait PolicyGuest: fmt::Debug + Send {
    /// Operators have decided something of a role.
    fn configure(&mut self, role: &Role, settings: &RoleSettings);

    /// An agent joined the cluster.
    fn grow(&mut self, agent: &Resources);

    /// An agent left the cluster.
    fn shrink(&mut self, agent: &Resources);

    /// A client appears. It wants nothing and holds nothing.
    fn put_client(&mut self, client: u32, role: &Role);

    /// A client that neither wants nor holds anything disappears.
    fn remove_client(&mut self, client: u32);

    /// Whether a client wants offers.
    fn set_wanting(&mut self, client: u32, wanting: bool);

    /// A client holds more.
    fn charge(&mut self, client: u32, resources: &Resources);

    /// A client holds less.
    fn refund(&mut self, client: u32, resources: &Resources);

    /// A client took what was to give in the last turn.
    fn served(&mut self, client: u32);

    /// An allocation over so many agents begins: what the guest may spend until the next one.
    fn begin(&mut self, agents: usize);

    /// Begins a turn and answers the client to ask first; none if nobody wants anything.
    fn turn(&mut self, now: Time) -> Result<Option<u32>, PolicyFault>;

    /// The clients to ask next in this turn, `most` at the most; fewer are the last.
    fn another(&mut self, most: u32) -> Result<Vec<u32>, PolicyFault>;

    /// Fuel used so far, in the guest's own units.
    fn fuel_used(&self) -> u64;
}

/// Why a plug-in decides no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyFault {
    /// It could not be loaded when the master started.
    NotLoaded(String),
    /// It ended without an answer.
    Trapped(String),
    /// It used up its fuel without an answer.
    OutOfFuel,
    /// It named a client that there is not.
    UnknownClient(u32),
    /// It named a client that wants no offers.
    NotWanting(u32),
    /// It named a client twice in one turn.
    Repeated(u32),
    /// It ended a turn before it had named so many clients that want offers.
    LeftOut(usize),
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoaded(why) => write!(f, "it cannot be loaded: {why}"),
            Self::Trapped(why) => write!(f, "it trapped: {why}"),
            Self::OutOfFuel => f.write_str("it used up its fuel without an answer"),
            Self::UnknownClient(client) => {
                write!(f, "it named client {client}, which there is not")
            }
            Self::NotWanting(client) => {
                write!(f, "it named client {client}, which wants no offers")
            }
            Self::Repeated(client) => write!(f, "it named client {client} twice in one turn"),
            Self::LeftOut(clients) => {
                write!(f, "it left out {clients} clients that want offers")
            }
        }
    }
}

/// What is known of a client.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    present: bool,
    wanting: bool,
    /// The turn in which it was named last.
    named: u64,
}

/// A policy that asks a guest while the guest is sound.
#[derive(Debug)]
pub(crate) struct Plugin {
    name: String,
    digest: Digest,
    /// Gone after its first fault.
    guest: Option<Box<dyn PolicyGuest>>,
    fault: Option<PolicyFault>,
    /// Decides after a fault, and keeps the sums before it too.
    built_in: Drf,
    clients: Vec<Known>,
    wanting: usize,
    now: Time,
    turn: u64,
    /// How many changes the guest has heard of since its last turn.
    behind: usize,
    /// Every client that wants something, in order, as the last turn named them in which nobody took
    /// anything. It stands for further turns of this moment as long as nothing changes.
    nobody_took: Option<Vec<ClientSlot>>,
    /// What is still to be told of.
    account: Account,
    /// The guest's count when it was asked last.
    fuel_seen: u64,
}

impl Plugin {
    pub(crate) fn new(
        name: String,
        digest: Digest,
        now: Time,
        guest: Result<Box<dyn PolicyGuest>, PolicyFault>,
        built_in: Drf,
    ) -> Self {
        let (guest, fault) = match guest {
            Ok(guest) => (Some(guest), None),
            Err(fault) => (None, Some(fault)),
        };
        Self {
            name,
            digest,
            guest,
            account: Account {
                fault: fault.clone(),
                ..Account::default()
            },
            fault,
            built_in,
            clients: Vec::new(),
            wanting: 0,
            now,
            turn: 0,
            behind: 0,
            nobody_took: None,
            fuel_seen: 0,
        }
    }

    /// Tells the guest of a change, if it is still there.
    fn tell(&mut self, change: impl FnOnce(&mut dyn PolicyGuest)) {
        let Some(guest) = &mut self.guest else { return };
        change(guest.as_mut());
        self.nobody_took = None;
        self.behind += 1;
        if self.behind > MOST_BEHIND {
            self.catch_up();
        }
    }

    fn note(&mut self, outcome: Result<(), PolicyFault>) {
        if let Err(fault) = outcome {
            self.guest = None;
            self.account.fault = Some(fault.clone());
            self.fault = Some(fault);
        }
    }

    /// Asks the guest something and counts what that took.
    fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut dyn PolicyGuest) -> Result<T, PolicyFault>,
    ) -> Result<Option<T>, PolicyFault> {
        let Some(guest) = &mut self.guest else {
            return Ok(None);
        };
        let answer = question(guest.as_mut());
        let used = guest.fuel_used();
        self.account.fuel += used - mem::replace(&mut self.fuel_seen, used);
        answer.map(Some)
    }

    /// A turn of the guest's, from its first answer to the client that takes.
    fn turn_of_guest(
        &mut self,
        takes: &mut dyn FnMut(ClientSlot) -> bool,
    ) -> Result<Option<ClientSlot>, PolicyFault> {
        if let Some(all) = &self.nobody_took {
            return Ok(all.iter().copied().find(|client| takes(*client)));
        }
        let mut asked = Vec::new();
        let taker = self.ask_through(&mut |client| {
            asked.push(client);
            takes(client)
        })?;
        if taker.is_none() {
            self.nobody_took = Some(asked);
        }
        Ok(taker)
    }

    /// Asks the guest until somebody takes or everybody was named.
    fn ask_through(
        &mut self,
        takes: &mut dyn FnMut(ClientSlot) -> bool,
    ) -> Result<Option<ClientSlot>, PolicyFault> {
        self.turn += 1;
        self.account.turns += 1;
        self.behind = 0;
        let now = self.now;
        let first = self.ask(|guest| guest.turn(now))?.flatten();
        let mut named = 0;
        if let Some(taker) = self.first_taker(first.as_slice(), &mut named, takes)? {
            return Ok(Some(taker));
        }
        let mut batch = FIRST_BATCH;
        let mut ended = first.is_none();
        while !ended && named < self.wanting {
            let answer = self.ask(|guest| guest.another(batch))?.unwrap_or_default();
            ended = answer.len() < batch as usize;
            if let Some(taker) = self.first_taker(&answer, &mut named, takes)? {
                return Ok(Some(taker));
            }
            batch = (batch * 2).min(LARGEST_BATCH);
        }
        match self.wanting.saturating_sub(named) {
            0 => Ok(None),
            left_out => Err(PolicyFault::LeftOut(left_out)),
        }
    }

    /// The first of the named clients that takes.
    fn first_taker(
        &mut self,
        clients: &[u32],
        named: &mut usize,
        takes: &mut dyn FnMut(ClientSlot) -> bool,
    ) -> Result<Option<ClientSlot>, PolicyFault> {
        for client in clients {
            let slot = self.validate(*client)?;
            *named += 1;
            if takes(slot) {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Whether a client may be named now.
    fn validate(&mut self, client: u32) -> Result<ClientSlot, PolicyFault> {
        let known = self.clients.get_mut(client as usize);
        let Some(known) = known.filter(|known| known.present) else {
            return Err(PolicyFault::UnknownClient(client));
        };
        if !known.wanting {
            return Err(PolicyFault::NotWanting(client));
        }
        if mem::replace(&mut known.named, self.turn) == self.turn {
            return Err(PolicyFault::Repeated(client));
        }
        Ok(ClientSlot::at(client as usize))
    }
}

/// The number by which a guest knows a client.
fn number(client: ClientSlot) -> u32 {
    u32::try_from(client.index()).expect("slots have 32 bits")
}

impl Policy for Plugin {
    fn grow(&mut self, agent: &Resources) {
        self.built_in.grow(agent);
        self.tell(|guest| guest.grow(agent));
    }

    fn shrink(&mut self, agent: &Resources) {
        self.built_in.shrink(agent);
        self.tell(|guest| guest.shrink(agent));
    }

    fn configure(&mut self, role: &Role, settings: &RoleSettings) {
        self.built_in.configure(role, settings);
        self.tell(|guest| guest.configure(role, settings));
    }

    fn add(&mut self, client: ClientSlot, role: &Role) {
        self.built_in.add(client, role);
        if self.clients.len() <= client.index() {
            self.clients.resize(client.index() + 1, Known::default());
        }
        self.clients[client.index()] = Known {
            present: true,
            ..Known::default()
        };
        self.tell(|guest| guest.put_client(number(client), role));
    }

    fn remove(&mut self, client: ClientSlot) {
        self.built_in.remove(client);
        self.clients[client.index()] = Known::default();
        self.tell(|guest| guest.remove_client(number(client)));
    }

    fn set_wanting(&mut self, client: ClientSlot, wanting: bool) {
        let known = &mut self.clients[client.index()];
        if mem::replace(&mut known.wanting, wanting) == wanting {
            return;
        }
        if wanting {
            self.wanting += 1;
        } else {
            self.wanting -= 1;
        }
        self.built_in.set_wanting(client, wanting);
        self.tell(|guest| guest.set_wanting(number(client), wanting));
    }

    fn anyone_wanting(&self) -> bool {
        self.wanting > 0
    }

    fn charge(&mut self, client: ClientSlot, resources: &Resources) {
        self.built_in.charge(client, resources);
        self.tell(|guest| guest.charge(number(client), resources));
    }

    fn refund(&mut self, client: ClientSlot, resources: &Resources) {
        self.built_in.refund(client, resources);
        self.tell(|guest| guest.refund(number(client), resources));
    }

    fn catch_up(&mut self) {
        self.behind = 0;
        let now = self.now;
        // Nobody is to be served: the answer does not matter.
        let taken_in = self.ask(|guest| {
            guest.begin(0);
            guest.turn(now)
        });
        self.note(taken_in.map(drop));
    }

    fn begin(&mut self, now: Time, agents: usize) {
        if mem::replace(&mut self.now, now) != now {
            self.nobody_took = None;
        }
        if let Some(guest) = &mut self.guest {
            guest.begin(agents);
        }
    }

    fn next(&mut self, takes: &mut dyn FnMut(ClientSlot) -> bool) -> Option<ClientSlot> {
        if self.guest.is_none() {
            return self.built_in.next(takes);
        }
        match self.turn_of_guest(takes) {
            Ok(taker) => {
                if let Some(client) = taker {
                    self.built_in.serve(client);
                    self.tell(|guest| guest.served(number(client)));
                }
                taker
            }
            Err(fault) => {
                self.note(Err(fault));
                self.built_in.next(takes)
            }
        }
    }

    fn order(&self) -> Option<Vec<ClientSlot>> {
        match self.guest {
            Some(_) => None,
            None => self.built_in.order(),
        }
    }

    fn parting(&self, one: ClientSlot, other: ClientSlot) -> (Standing, Standing) {
        self.built_in.parting(one, other)
    }

    fn held(&self, client: ClientSlot) -> &Quantities {
        self.built_in.held(client)
    }

    fn total(&self) -> &Quantities {
        self.built_in.total()
    }

    fn counted(&self) -> Cow<'_, Quantities> {
        self.built_in.counted()
    }

    fn take_account(&mut self) -> Account {
        mem::take(&mut self.account)
    }

    fn view(&self) -> PolicyView {
        PolicyView {
            name: self.name.clone(),
            digest: Some(self.digest),
            fault: self.fault.as_ref().map(ToString::to_string),
            preemption: None,
        }
    }

    fn check_invariants(&self) {
        self.built_in.check_invariants();
        let wanting = self.clients.iter().filter(|known| known.wanting).count();
        assert_eq!(wanting, self.wanting, "wanting clients are counted");
        assert_eq!(self.built_in.anyone_wanting(), wanting > 0);
        assert_eq!(
            self.guest.is_none(),
            self.fault.is_some(),
            "a guest is there until its first fault"
        );
    }
}
