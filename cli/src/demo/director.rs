//! Who says what when. The order of events is the cluster's: the director waits for each, tells it,
//! and gives the frameworks their lines.

use std::time::{Duration, Instant};

use nesos_api::v1::OutputStream;
use nesos_sdk::{Driver, Handle, MasterClient, SessionConfig, TaskIo};
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::{FrameworkId, TaskKey};
use nesos_types::limits::Usage;
use nesos_types::offer::{Filters, Offer};
use nesos_types::resources::{Resources, format_bytes};
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, TaskState, TaskStatus};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::actor::{Actor, Cue, Line, Who};
use super::part::{Part, cast};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::output::{self, Style};
use crate::table::Table;

/// How long to wait for the last offers when the last task has ended.
const LAST_OFFERS: Duration = Duration::from_millis(1500);

/// A framework that has subscribed.
#[derive(Debug)]
struct Member {
    who: Who,
    handle: Handle<Line>,
    id: FrameworkId,
    driver: JoinHandle<()>,
}

/// Tells the play and keeps count.
#[derive(Debug)]
pub(crate) struct Director {
    style: Style,
    start: Instant,
    master: MasterClient,
    speaking: mpsc::UnboundedSender<(Who, Cue)>,
    cues: mpsc::UnboundedReceiver<(Who, Cue)>,
    parts: Vec<Part>,
    agent_url: String,
}

impl Director {
    /// Plays from the first line to the last table.
    pub(crate) async fn play(cluster: &Cluster, style: Style) -> Result<(), Failure> {
        let (speaking, cues) = mpsc::unbounded_channel();
        let parts = cast().map_err(|error| Failure::new("the cast has a bad name", error))?;
        let mut director = Self {
            style,
            start: Instant::now(),
            master: cluster.client()?,
            speaking,
            cues,
            parts,
            agent_url: String::new(),
        };
        director.say("master", format!("serves at {}", cluster.url()))?;
        director.upload().await?;
        director.act().await
    }

    async fn act(&mut self) -> Result<(), Failure> {
        self.agent_joins().await?;
        let one = self.enter(Who::One).await?;
        let whole = self.offer_to(Who::One).await?;
        self.say(
            "master",
            format!(
                "offers all of it, {}, to framework 1",
                brief(&whole.resources)
            ),
        )?;
        self.agent_url.clone_from(&whole.agent_info.url);
        let two = self.enter(Who::Two).await?;
        self.explain(two.id).await?;
        self.launch(&one, &whole)?;
        let rest = self.offer_to(Who::Two).await?;
        let left = brief(&rest.resources);
        self.say(
            "master",
            format!("offers what is left, {left}, to framework 2"),
        )?;
        self.launch(&two, &rest)?;
        self.run_to_the_end(&one, &two).await?;
        self.read_output(&one, &two).await?;
        self.bow()?;
        for member in [one, two] {
            member.handle.send(Line::Leave);
            // A driver that ended before has nothing left to say.
            let _ = member.driver.await;
        }
        Ok(())
    }

    fn say(&self, who: &str, what: impl std::fmt::Display) -> Result<(), Failure> {
        let time = format!("{:6.3} s", self.start.elapsed().as_secs_f64());
        let who = self.style.bold(format!("{who:<12}"));
        output::line(format_args!("{}  {who} {what}", self.style.dim(time)))?;
        Ok(())
    }

    async fn upload(&self) -> Result<(), Failure> {
        let mut blobs = self.master.blobs();
        for part in &self.parts {
            blobs.ensure(part.task.bundle, &part.bytes, |_| {}).await?;
        }
        let bytes: usize = self.parts.iter().map(|part| part.bytes.len()).sum();
        let size = format_bytes(bytes as u64);
        self.say(
            "master",
            format!("holds {} programs, {size} of WebAssembly", self.parts.len()),
        )
    }

    /// The master admits the agent.
    async fn agent_joins(&self) -> Result<(), Failure> {
        use nesos_api::v1::watch_event::Event;
        let mut events = self.master.operator().watch(false).await?;
        while let Some(event) = events.message().await? {
            let agent = match event.event {
                Some(Event::Snapshot(state)) => state.agents.into_iter().next(),
                Some(Event::AgentAdded(agent)) => Some(agent),
                _ => None,
            };
            if let Some(resources) = agent.and_then(|agent| agent.info?.resources) {
                let resources = Resources::try_from(resources)?;
                return self.say("agent", format!("registers with {}", brief(&resources)));
            }
        }
        Err(Failure::said("the master ended before an agent registered"))
    }

    /// A framework subscribes.
    async fn enter(&mut self, who: Who) -> Result<Member, Failure> {
        let actor = Actor::new(who, self.speaking.clone());
        let info = FrameworkInfo::new(who.name(), [Role::default_role()]);
        let (driver, handle) = Driver::new(actor, self.master.clone(), SessionConfig::new(info));
        let driver = tokio::spawn(async move {
            if let Err(error) = driver.run().await {
                tracing::error!(%error, "a framework ended");
            }
        });
        loop {
            match self.cue().await? {
                (speaker, Cue::Subscribed(id)) if speaker == who => {
                    self.say(who.name(), "subscribed")?;
                    return Ok(Member {
                        who,
                        handle,
                        id,
                        driver,
                    });
                }
                (_, Cue::Update(status)) => self.on_update(status)?,
                _ => {}
            }
        }
    }

    async fn cue(&mut self) -> Result<(Who, Cue), Failure> {
        let cue = self.cues.recv().await;
        cue.ok_or_else(|| Failure::said("the frameworks have gone"))
    }

    /// Waits for the offer that the play goes on with.
    async fn offer_to(&mut self, who: Who) -> Result<Offer, Failure> {
        loop {
            match self.cue().await? {
                (speaker, Cue::Offered(offer)) if speaker == who => return Ok(offer),
                (_, Cue::Update(status)) => self.on_update(status)?,
                _ => {}
            }
        }
    }

    async fn explain(&mut self, framework: FrameworkId) -> Result<(), Failure> {
        let answer = self.master.operator().explain(framework, None).await?;
        let one = "framework 1 holds an offer of all that there is";
        let held = answer
            .blocked
            .iter()
            .any(|group| group.rule == "offered_to");
        let why = if held { one } else { &answer.summary };
        self.say(
            "master",
            format!("has nothing to offer to framework 2: {why}"),
        )
    }

    /// A framework launches its tasks on an offer.
    fn launch(&self, member: &Member, offer: &Offer) -> Result<(), Failure> {
        let who = member.who;
        let tasks: Vec<SharedTask> = self
            .parts
            .iter()
            .filter(|part| part.who == who)
            .map(|part| part.task.clone())
            .collect();
        let named: Vec<_> = tasks
            .iter()
            .map(|task| {
                format!(
                    "{} on {}",
                    self.style.cyan(&task.id),
                    brief(&task.resources)
                )
            })
            .collect();
        self.say(who.name(), format!("launches {}", named.join(" and ")))?;
        member.handle.send(Line::Launch(offer.id, tasks));
        Ok(())
    }
}

/// What happens once all tasks are on their way.
impl Director {
    /// Tells what happens until every task has ended and what they held was offered again.
    async fn run_to_the_end(&mut self, one: &Member, two: &Member) -> Result<(), Failure> {
        let mut returned = Resources::default();
        loop {
            let ended = self.parts.iter().all(|part| part.end.is_some());
            let cue = if ended {
                match tokio::time::timeout(LAST_OFFERS, self.cue()).await {
                    Ok(cue) => cue?,
                    Err(_) => return Ok(()),
                }
            } else {
                self.cue().await?
            };
            match cue {
                (_, Cue::Update(status)) => self.on_update(status)?,
                (who, Cue::Offered(offer)) => {
                    returned = offer.resources.clone();
                    let member = if who == Who::One { one } else { two };
                    self.decline(member, &offer)?;
                }
                (_, Cue::Subscribed(_)) => {}
            }
            if ended && returned.cpu_milli >= 4000 {
                return Ok(());
            }
        }
    }

    /// Nobody has more to launch: resources go from one to the other and back.
    fn decline(&self, member: &Member, offer: &Offer) -> Result<(), Failure> {
        let name = member.who.name();
        let resources = brief(&offer.resources);
        self.say("master", format!("offers {resources} again, to {name}"))?;
        self.say(name, "declines: it has nothing more to launch")?;
        let filters = Filters::refuse_for(Duration::from_secs(3600));
        member.handle.send(Line::Decline(offer.id, filters));
        Ok(())
    }

    fn on_update(&mut self, status: TaskStatus) -> Result<(), Failure> {
        let Some(index) = self.part(&status) else {
            return Ok(());
        };
        let part = &self.parts[index];
        let (who, name) = (part.who.name(), self.style.cyan(&part.task.id));
        match status.state {
            TaskState::Running => self.say(who, format!("hears that {name} runs"))?,
            state if state.is_terminal() => {
                let released = brief(&part.task.resources);
                let how = self.shown_end(&status);
                self.say(who, format!("hears that {name} {how}; {released} are free"))?;
                self.parts[index].end = Some(status);
            }
            _ => {}
        }
        Ok(())
    }

    fn part(&self, status: &TaskStatus) -> Option<usize> {
        let is_it = |part: &Part| part.task.id == status.task && part.end.is_none();
        self.parts.iter().position(is_it)
    }

    fn shown_end(&self, status: &TaskStatus) -> String {
        if status.state == TaskState::Finished {
            return self.style.green(status.state);
        }
        let state = self.style.yellow(status.state);
        format!("{state} ({})", status.message)
    }

    /// Reads what the tasks wrote from their agent.
    async fn read_output(&mut self, one: &Member, two: &Member) -> Result<(), Failure> {
        let mut io = TaskIo::new(&self.agent_url)?;
        for part in &mut self.parts {
            let member = if part.who == Who::One { one } else { two };
            let key = TaskKey {
                framework: member.id,
                task: part.task.id.clone(),
            };
            let mut chunks = io.logs(&key, OutputStream::Stdout, false).await?;
            while let Some(chunk) = chunks.message().await? {
                part.output.push_str(&String::from_utf8_lossy(&chunk.data));
            }
        }
        Ok(())
    }

    /// The table at the end.
    fn bow(&self) -> Result<(), Failure> {
        output::line(format_args!(
            "\n{}",
            table(&self.parts).render(self.style, 2)
        ))?;
        let failed = |part: &&Part| {
            let state = part.end.as_ref().map(|status| status.state);
            state != Some(TaskState::Finished)
        };
        match self.parts.iter().find(failed) {
            Some(part) => Err(Failure::said(format!("{} did not finish", part.task.id))),
            None => Ok(()),
        }
    }
}

fn table(parts: &[Part]) -> Table {
    let mut table = Table::new([
        "TASK",
        "FRAMEWORK",
        "ACCEPTED",
        "STATUS",
        "CPU TIME",
        "FUEL",
        "PEAK MEMORY",
        "OUTPUT",
    ]);
    for part in parts {
        let status = part.end.as_ref();
        let usage = status.and_then(|status| status.usage).unwrap_or_default();
        table.row([
            part.task.id.to_string(),
            part.who.name().to_owned(),
            brief(&part.task.resources),
            status.map_or_else(String::new, |status| status.state.to_string()),
            cpu_time(&usage),
            fuel(&usage),
            format_bytes(usage.peak_memory_bytes),
            last_line(&part.output),
        ]);
    }
    table
}

/// CPU and memory: what the example is about.
fn brief(resources: &Resources) -> String {
    Resources::new(resources.cpu_milli, resources.mem_bytes).to_string()
}

fn cpu_time(usage: &Usage) -> String {
    let micros = usage.cpu_ns / 1000;
    match micros {
        0..1000 => format!("{micros} us"),
        1000..1_000_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        _ => format!(
            "{}.{:02} s",
            micros / 1_000_000,
            micros % 1_000_000 / 10_000
        ),
    }
}

/// Fuel is not counted in threads, which share a clock instead.
fn fuel(usage: &Usage) -> String {
    match usage.fuel {
        0 => "-".to_owned(),
        units => grouped(units),
    }
}

/// A large number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn last_line(output: &str) -> String {
    output.lines().last().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1 000"),
            (1_234_567, "1 234 567"),
        ] {
            assert_eq!(grouped(number), text);
        }
        for (cpu_ns, text) in [
            (999, "0 us"),
            (42_000, "42 us"),
            (1_250_000, "1.2 ms"),
            (2_345_000_000, "2.34 s"),
        ] {
            let usage = Usage {
                cpu_ns,
                ..Usage::default()
            };
            assert_eq!(cpu_time(&usage), text);
        }
    }
}
