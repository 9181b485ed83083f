//! The probe: the operator's project moves to a storage, is committed to through GitLab, is read at our own address of
//! that Gitaly, and moves back. What fails says which part is wrong. Every step can be taken up by another run.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use super::eligible::Eligible;
use super::pace::ask_veto;
use super::{Engine, Message, guarded};
use crate::apply::event::{Event, Outcome};
use crate::apply::failure::remedy;
use crate::apply::mover::{self, Mover, Task};
use crate::apply::port::{PortError, PortErrorKind, PortResult};
use crate::apply::verify::Verdict;
use crate::model::{Address, Bytes, Container, HookEvent, RepositoryRole, StorageName, Veto, relative_path};
use crate::plan::window::Window;
use crate::plan::{Action, ActionId, Change, PlannedMove};
use crate::state::journal::Record as Entry;
use crate::state::{ProbeRecord, Record, State};

/// Attempts of each part.
const TRIES: u32 = 3;
/// Until the next attempt, by the fleet's clock.
const AGAIN: Duration = Duration::from_secs(30);

/// How a probe ended.
pub(super) struct Ended {
    outcome: Outcome,
    /// Of the disk that was found right.
    filesystem_id: Option<String>,
    /// The project is not at home.
    away: bool,
    quarantined: Option<mover::Ended>,
    in_doubt: bool,
    fatal: Option<String>,
    remarks: Vec<String>,
    /// Milliseconds that each attempt kept the project read-only.
    frozen: Vec<u64>,
}

/// What is probed.
struct Probe {
    mover: Mover,
    address: Address,
    storage: StorageName,
    container: Container,
    path: Arc<str>,
    home: StorageName,
    events: tokio::sync::mpsc::UnboundedSender<Event>,
    /// The window of the first wave, with its name: the project moves inside, as all others do.
    window: Option<(String, Window)>,
    vetoes: Vec<Veto>,
    /// When its group's day has freeze left for it, and why not before.
    budget: Option<(Timestamp, String)>,
    max_wait: Option<Duration>,
}

/// Why a probe did not come to its end.
enum Fault {
    /// As told.
    Failed(String),
    /// The world is not as planned.
    Stale(String),
    /// The run stops.
    Stopped,
    /// It would have to wait for longer than the run does: for what.
    Paused(String),
}

impl Probe {
    fn say(&self, what: &str) {
        let _ = self.events.send(Event::Waiting { what: format!("{}: {what}", self.address) });
    }

    async fn run(self) -> Ended {
        let mut ended = Ended {
            outcome: Outcome::NotStarted,
            filesystem_id: None,
            away: false,
            quarantined: None,
            in_doubt: false,
            fatal: None,
            remarks: Vec::new(),
            frozen: Vec::new(),
        };
        let result = self.steps(&mut ended).await;
        ended.outcome = match result {
            Ok(detail) => Outcome::Done { detail },
            Err(Fault::Failed(cause)) => Outcome::Failed { cause },
            Err(Fault::Stale(cause)) => Outcome::Stale { cause },
            Err(Fault::Stopped) => Outcome::NotStarted,
            Err(Fault::Paused(until)) => Outcome::Paused { until },
        };
        if let Some(cause) = &ended.fatal {
            ended.outcome = Outcome::Failed { cause: cause.clone() };
        }
        ended
    }

    async fn steps(&self, ended: &mut Ended) -> Result<String, Fault> {
        let Self { mover, storage, container, path, home, .. } = self;
        let gitaly = &mover.ports.gitaly;
        let failed = |what: &str, e: &PortError| Fault::Failed(format!("{what}: {e}{}", help(e)));
        let at =
            mover.ports.gitlab.container(*container).await.map_err(|e| failed("the project cannot be read", &e))?;
        let at = at.ok_or_else(|| Fault::Stale(format!("GitLab does not show {path} any more")))?.storage;
        if at != *storage && at != *home {
            return Err(Fault::Stale(format!("{path} is on {at} now, not on {home}")));
        }
        let wrong = format!("the address or the token that tranship has for {storage}");
        let tried = gitaly.server(storage).await.map_err(|e| failed(&wrong, &e))?.filesystem_id;
        let others = gitaly.server(home).await.map_err(|e| failed(&format!("{home} cannot be asked"), &e))?;
        if storage != home && (tried.is_empty() || tried == others.filesystem_id) {
            return Err(Fault::Failed(format!(
                "the address of {storage}: the same disk is behind it as behind {home}"
            )));
        }
        self.may_move().await?;
        if storage != home {
            self.note(ended, false).await?;
            ended.away = true;
        }
        if at != *storage {
            self.say(&format!("{path} moves from {home} to {storage}"));
            if let Err(fault) = self.bring(home, storage, ended).await {
                let stays = matches!(mover.ports.gitlab.container(*container).await, Ok(Some(p)) if p.storage == *home);
                if stays && !ended.in_doubt {
                    ended.away = false;
                    self.note(ended, true).await?;
                }
                return Err(match fault {
                    Fault::Failed(cause) => {
                        Fault::Failed(format!("GitLab's way to {storage} (its address or token there): {cause}"))
                    }
                    other => other,
                });
            }
        }
        self.say(&format!("a commit to {path} through GitLab, read on {storage} by our own way"));
        let tested = self.commit().await;
        // Whatever the test said, the project goes home.
        if storage != home {
            self.say(&format!("{path} moves back from {storage} to {home}"));
            self.may_move().await?;
            if let Err(fault) = self.bring(storage, home, ended).await {
                let cause = match (fault, &tested) {
                    (held @ (Fault::Stopped | Fault::Paused(_)), _) => return Err(held),
                    (_, Err(cause)) => format!("{cause}; and {path} could not be brought back to {home}"),
                    (Fault::Failed(cause) | Fault::Stale(cause), _) => {
                        format!("{path} could not be brought back to {home}: {cause}")
                    }
                };
                return Err(Fault::Failed(format!("{cause}; the next apply tries again")));
            }
            ended.away = false;
            self.note(ended, true).await?;
        }
        let (commit, branch) = tested.map_err(Fault::Failed)?;
        ended.filesystem_id = Some(tried);
        let short: String = commit.chars().take(8).collect();
        Ok(format!("commit {short} was read on {storage}; the branch {branch} stays in {path}"))
    }

    /// Waits for the window, for vetoes to be lifted, and for a worker.
    async fn may_move(&self) -> Result<(), Fault> {
        let clock = &self.mover.ports.clock;
        let (mut waited, mut told) = (Duration::ZERO, None);
        loop {
            if self.mover.stop.is_cancelled() {
                return Err(Fault::Stopped);
            }
            let now = clock.now();
            let Some((why, wait)) = self.held(now).await else { return Ok(()) };
            waited += wait;
            if self.max_wait.is_some_and(|most| waited > most) {
                return Err(Fault::Paused(format!("{why}; apply again when that is over")));
            }
            if told.as_ref() != Some(&why) {
                self.say(&format!("waits: {why}"));
                told = Some(why);
            }
            tokio::select! {
                () = clock.sleep(wait) => {}
                () = self.mover.stop.cancelled() => {}
            }
        }
    }

    /// What keeps moves from beginning now, and when to look again.
    async fn held(&self, now: Timestamp) -> Option<(String, Duration)> {
        if let Some((name, window)) = &self.window {
            let opening = window.opening(now);
            if let Some(opening) = opening.filter(|opening| opening.opens > now) {
                let opens = opening.opens.to_zoned(window.zone().clone()).strftime("%Y-%m-%d %H:%M:%S %:z");
                let wait = opening.opens.duration_since(now).unsigned_abs();
                return Some((format!("window {name} is closed until {opens}"), wait));
            }
        }
        if let Some((until, why)) = self.budget.as_ref().filter(|(until, _)| *until > now) {
            return Some((why.clone(), until.duration_since(now).unsigned_abs()));
        }
        for veto in &self.vetoes {
            if let Some(why) = ask_veto(&self.mover.ports, &veto.source, now).await.holds(&veto.name) {
                return Some((why, AGAIN));
            }
        }
        let poller = &self.mover.poller;
        poller.look_around().await;
        let is_kept = poller.foreign() >= poller.workers();
        poller.kept(is_kept);
        is_kept.then(|| ("moves of others keep GitLab's workers busy".to_owned(), AGAIN))
    }

    /// Writes down that the project leaves home, or is back.
    async fn note(&self, ended: &mut Ended, back: bool) -> Result<(), Fault> {
        let (container, home, storage) = (self.container, self.home.clone(), self.storage.clone());
        let written = self.mover.journal.append(vec![Entry::Probe { container, home, storage, back }]).await;
        written.map_err(|e| {
            ended.fatal = Some(e.to_string());
            Fault::Stopped
        })
    }

    /// Moves the project, with all that a move is held to.
    async fn bring(&self, source: &StorageName, destination: &StorageName, ended: &mut Ended) -> Result<(), Fault> {
        let planned = PlannedMove {
            container: self.container,
            path: self.path.clone(),
            source: source.clone(),
            destination: destination.clone(),
            assignment: self.address.clone(),
            bytes: self.size().await,
            shared: Bytes(0),
            empty: false,
            pool: None,
        };
        let mut last = String::new();
        for attempt in 1..=TRIES {
            if attempt > 1 {
                self.may_move().await?;
            }
            let task =
                Task { planned: planned.clone(), wave: "probe".to_owned(), attempt, disks_differ: true, until: None };
            let attempted = self.mover.attempt(task).await;
            ended.frozen.extend(self.mover.thawed().remove(&self.container));
            match attempted {
                mover::Ended::Verified(verified) => {
                    if verified.verdict == Verdict::Unknown {
                        let lines = verified.lines.join("; ");
                        ended.remarks.push(format!("{} {}: unknown: {lines}", self.address, self.path));
                    }
                    if let Some(class) = verified.left {
                        ended.remarks.push(remedy::left(class, &verified.intent, verified.move_id));
                    }
                    return Ok(());
                }
                mover::Ended::Skipped { done: true, why } if why.starts_with("already") => return Ok(()),
                mover::Ended::Skipped { why, .. } => return Err(Fault::Stale(why)),
                mover::Ended::Again { cause, .. } | mover::Ended::Unreachable { cause, .. } => last = cause,
                mover::Ended::Foreign { live } => {
                    let most = self.max_wait.unwrap_or(Duration::MAX);
                    match self.mover.wait_for_foreign(&self.path, &live, most).await {
                        mover::Foreign::Over => last = format!("somebody's move {} was under way", live.id),
                        mover::Foreign::Stopped => return Err(Fault::Stopped),
                        mover::Foreign::TooLong { minutes } => {
                            let id = live.id;
                            let cause = format!("somebody's move {id} has been under way for {minutes} minutes");
                            return Err(Fault::Failed(cause));
                        }
                    }
                }
                quarantined @ mover::Ended::Quarantined { .. } => {
                    let cause = match &quarantined {
                        mover::Ended::Quarantined { record, .. } => record.cause.clone(),
                        _ => String::new(),
                    };
                    ended.quarantined = Some(quarantined);
                    return Err(Fault::Failed(format!("the project was set aside: {cause}")));
                }
                mover::Ended::Stopped => return Err(Fault::Stopped),
                mover::Ended::Halt { cause } => return Err(Fault::Failed(cause)),
                mover::Ended::InDoubt { cause } => {
                    ended.in_doubt = true;
                    return Err(Fault::Failed(format!("{cause}; the next apply takes it up")));
                }
                mover::Ended::Fatal { cause } => {
                    ended.fatal = Some(cause.clone());
                    return Err(Fault::Failed(cause));
                }
            }
            if attempt < TRIES {
                self.mover.ports.clock.sleep(AGAIN).await;
            }
        }
        Err(Fault::Failed(last))
    }

    /// What GitLab says of its size: how long a move may take goes by it.
    async fn size(&self) -> Bytes {
        let found = self.mover.ports.gitlab.container(self.container).await.ok().flatten();
        found.and_then(|repository| repository.size).unwrap_or_default()
    }

    /// Commits through GitLab and reads that by our own way. Gives the commit and its branch.
    async fn commit(&self) -> Result<(String, String), String> {
        let Self { mover, storage, container, path, .. } = self;
        let (gitlab, gitaly) = (&mover.ports.gitlab, &mover.ports.gitaly);
        let disk = gitlab.disk_path(*container).await.ok().flatten();
        let disk = disk.map_or_else(|| relative_path(*container, RepositoryRole::Main), |disk| format!("{disk}.git"));
        let ours = format!("the address or the token that tranship has for {storage}");
        let head = self.again(|| gitaly.head(storage, &disk)).await.map_err(|e| match e.kind {
            PortErrorKind::NotFound => {
                format!("{ours}: GitLab says that {path} is on {storage}, and it is not at our address of it")
            }
            _ => format!("{ours}: {e}{}", help(&e)),
        })?;
        let start = head.as_deref().and_then(|head| head.strip_prefix(b"refs/heads/"));
        let start = start.map(|name| String::from_utf8_lossy(name).into_owned());
        let branch = format!("tranship-probe-{storage}");
        let message = format!("Probe of {storage}");
        let made = self.again(|| gitlab.commit(container.id, &branch, start.as_deref(), &message)).await;
        let commit = made.map_err(|e| {
            format!(
                "hooks: GitLab could not commit to {path} on {storage}: {e}{}. A commit runs Gitaly's hooks there, which ask \
                 GitLab's internal API (`internal_url`, the shell secret)",
                help(&e)
            )
        })?;
        let ids = [commit.clone()];
        let there = self.again(|| gitaly.objects_exist(storage, &disk, &ids)).await;
        let there = there.map_err(|e| format!("{ours}: {e}{}", help(&e)))?;
        let references = self.again(|| gitaly.references(storage, &disk)).await;
        let references = references.map_err(|e| format!("{ours}: {e}{}", help(&e)))?;
        let name = format!("refs/heads/{branch}").into_bytes();
        let named = references.iter().any(|reference| reference.name == name && reference.target == commit);
        if there != [true] || !named {
            return Err(format!(
                "the address of {storage}: the commit {commit} that GitLab made there is not at our address of it; GitLab's \
                 and ours lead to different servers"
            ));
        }
        Ok((commit, branch))
    }

    async fn again<T, F: Future<Output = PortResult<T>>>(&self, ask: impl Fn() -> F) -> PortResult<T> {
        let mut left = TRIES;
        loop {
            left -= 1;
            match ask().await {
                Err(e) if left > 0 && matches!(e.kind, PortErrorKind::Transient | PortErrorKind::Ambiguous) => {
                    self.mover.ports.clock.sleep(AGAIN).await;
                }
                answer => return answer,
            }
        }
    }
}

/// Under which a probe's two moves are counted: the plan's own moves count from 0.
fn keys(id: ActionId) -> [usize; 2] {
    let from_the_end = usize::MAX - 2 * id.0 as usize;
    [from_the_end, from_the_end - 1]
}

fn help(error: &PortError) -> String {
    error.help.as_ref().map_or_else(String::new, |help| format!(" ({help})"))
}

impl Engine<'_> {
    pub(super) fn probe(&mut self, id: ActionId, action: &Action) {
        let Change::Probe { storage, container, path, home } = &action.change else { return };
        let budget = match self.reserve_probe(id, action) {
            Ok(budget) => budget,
            Err(cause) => {
                self.running -= 1;
                self.end(id, Outcome::Failed { cause });
                return;
            }
        };
        // Its moves are none of the plan's: the totals know nothing of them.
        let (unheard, _) = unbounded_channel();
        let probe = Probe {
            mover: Mover { events: unheard, ..self.mover.clone() },
            address: action.address.clone(),
            storage: storage.clone(),
            container: *container,
            path: path.clone(),
            home: home.clone(),
            events: self.mover.events.clone(),
            window: self.first_window(),
            vetoes: self.plan.concurrency.vetoes.clone(),
            budget,
            max_wait: self.max_wait,
        };
        let sender = self.sender.clone();
        let fault = |cause| {
            let outcome = Outcome::Failed { cause };
            let (filesystem_id, quarantined, fatal, remarks, frozen) = Default::default();
            Box::new(Ended { outcome, filesystem_id, away: true, quarantined, in_doubt: true, fatal, remarks, frozen })
        };
        guarded(async move { Box::new(probe.run().await) }, fault, move |ended| {
            let _ = sender.send(Message::Probed(id, ended));
        });
    }

    /// Keeps what its two moves may need of the freeze budget. `Ok`: from when on the day has that, where it has not now;
    /// an error: no day ever has.
    fn reserve_probe(&mut self, id: ActionId, action: &Action) -> Result<Option<(Timestamp, String)>, String> {
        let Change::Probe { storage, container, path, home } = &action.change else { return Ok(None) };
        let now = self.ports().clock.now();
        let one = |source: &StorageName, destination: &StorageName| PlannedMove {
            container: *container,
            path: path.clone(),
            source: source.clone(),
            destination: destination.clone(),
            assignment: action.address.clone(),
            bytes: Bytes(0),
            shared: Bytes(0),
            empty: false,
            pool: None,
        };
        let moves = [one(home, storage), one(storage, home)];
        let calendar = &mut self.hours.calendar;
        match calendar.fit(&moves, now) {
            Eligible::Yes => {}
            Eligible::NotYet { until, why } => return Ok(Some((until, why.to_string()))),
            Eligible::Never { why } => return Err(why),
        }
        keys(id).into_iter().zip(&moves).for_each(|(key, one)| calendar.begin(key, one, now));
        Ok(None)
    }

    /// The window of the first wave.
    fn first_window(&self) -> Option<(String, Window)> {
        let name = self.plan.actions.iter().find_map(|action| match &action.change {
            Change::Moves { window, .. } => Some(window.clone()),
            _ => None,
        })??;
        let window = Window::new(self.plan.windows.get(&name)?)?;
        Some((name, window))
    }

    pub(super) async fn probed(&mut self, id: ActionId, ended: Ended) {
        self.running -= 1;
        let Some(Change::Probe { storage, container, home, .. }) = self.action(id).map(|action| &action.change) else {
            return;
        };
        let Ended { outcome, filesystem_id, away, quarantined, in_doubt, fatal, remarks, frozen } = ended;
        if let Some(Change::Probe { path, .. }) = self.action(id).map(|action| &action.change) {
            let now = self.ports().clock.now();
            frozen.iter().for_each(|ms| self.bear(*container, path, *ms));
            keys(id).into_iter().for_each(|key| drop(self.hours.calendar.end(key, 0, now)));
            self.hours.calendar.spend(path, frozen.iter().sum(), now);
        }
        for message in remarks {
            self.summary.remarks.push(message.clone());
            self.tell(Event::Warning { message });
        }
        self.in_doubt |= in_doubt;
        if fatal.is_some() {
            self.fatal = fatal;
        }
        if let Some(quarantined) = quarantined {
            self.quarantined(quarantined).await;
        }
        let address = State::probe_address(*container);
        if away {
            let record = ProbeRecord { home: home.clone(), storage: storage.clone() };
            self.state.records.insert(address, Record::Probe(record));
        } else {
            self.state.records.remove(&address);
        }
        if filesystem_id.is_some() {
            let record = self.state.storage_mut(storage);
            record.filesystem_id = record.filesystem_id.take().or_else(|| filesystem_id.clone());
            record.probed = filesystem_id;
        }
        self.save().await;
        if let Outcome::Failed { cause } = &outcome {
            self.happened(HookEvent::Gate, id, [("cause", json!(cause))]);
        }
        self.end(id, outcome);
    }
}
