//! The loop: one task owns the queue, the slots, the state and the totals; moves, weights and proofs run as tasks that
//! send messages. Signals are one more source.

mod clustered;
mod eligible;
mod fill;
mod hold;
mod hook;
mod hours;
mod moved;
mod pace;
mod probe;
mod ramp;
mod start;

pub(crate) use eligible::day_of;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::eta::Eta;
use super::event::{Event, Outcome, Summary};
use super::journal::Journal;
use super::mover::{Ended, Foreign, Mover};
use super::order::Waiting;
use super::pace::Pace;
use super::pools::Pools;
use super::port::{PortResult, Ports};
use super::room::{Room, Slots};
use super::version;
use super::wave::{Prepared, Wave};
use super::{RunResult, cluster, lock, tally};
use crate::model::{Container, DiskSpace, HookEvent, MoveRecord, StorageName};
use crate::plan::ready::Queue;
use crate::plan::{Action, ActionId, Change, Plan};
use crate::state::journal::{Record as Entry, Tried};
use crate::state::store::Store;
use crate::state::{Record, State, WaveRecord};
pub(crate) use hold::Patience;

/// Until GitLab or a Gitaly that could not be asked is asked again, by the fleet's clock.
const UNREACHABLE_AFTER: u64 = 60;
/// The state file is written at least after so many verified moves, so that a crash leaves little to the journal.
const CHECKPOINT_EVERY: u64 = 500;

enum Message {
    Weight(ActionId, Outcome, Vec<String>),
    Proof(ActionId, Outcome, Option<String>),
    Cluster(ActionId, Box<cluster::Ended>),
    Prepared(ActionId, Result<Prepared, Outcome>),
    Moved(ActionId, usize, Ended),
    Landed(Container),
    RetryDue(ActionId, usize),
    Foreign(ActionId, usize, Box<MoveRecord>, Foreign),
    Measured(StorageName, PortResult<Option<DiskSpace>>),
    Hour(jiff::Timestamp),
    Away(StorageName, String),
    Version(Option<String>),
    Paced(Box<pace::Answers>),
    Held(ActionId, Box<hold::Ended>),
    Probed(ActionId, Box<probe::Ended>),
    Hooked(Option<ActionId>, hook::Ended),
}

/// Runs something as a task of its own and hands on its result. A task that ends by a fault of ours is told too: the loop
/// waits for every one that it started.
fn guarded<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    fault: impl FnOnce(String) -> T + Send + 'static,
    then: impl FnOnce(T) + Send + 'static,
) {
    let task = tokio::spawn(work);
    tokio::spawn(async move {
        let ended = task.await.unwrap_or_else(|e| fault(format!("a fault of tranship: {e}")));
        then(ended);
    });
}

/// True of programs that run at the end of a wave.
fn tells_of_an_end(action: &Action) -> bool {
    matches!(action.change, Change::RunHook { on: HookEvent::WaveDone, .. })
}

/// One run of one plan.
pub(crate) struct Engine<'a> {
    plan: &'a Plan,
    state: State,
    summary: Summary,
    mover: Mover,
    store: Arc<dyn Store>,
    stop: CancellationToken,
    stopping: bool,
    queue: Queue,
    waves: BTreeMap<ActionId, Wave>,
    running: usize,
    slots: Slots,
    pace: Pace,
    pacing: pace::Pacing,
    /// Moves in flight, and those about to be.
    launched: BTreeSet<usize>,
    /// What was predicted of each when it began: milliseconds between which 80 of 100 such moves lie.
    predicted: BTreeMap<usize, (u64, u64)>,
    /// Of these, those that have ended and are only looked into: they keep no slot.
    looked_into: BTreeSet<usize>,
    room: Room,
    pools: Pools,
    /// Big moves in flight to each destination.
    crowds: BTreeMap<StorageName, usize>,
    /// Destinations that moves wait for because they do not fit.
    full: BTreeSet<StorageName>,
    /// Bytes, with inflation, and number of moves in flight to each destination.
    towards: BTreeMap<StorageName, (u64, usize)>,
    measuring: BTreeSet<StorageName>,
    /// Of these, those that are asked until their Gitaly answers.
    away: BTreeSet<StorageName>,
    /// When each disk was asked for last.
    measured_at: BTreeMap<StorageName, jiff::Timestamp>,
    /// Since when disks are above their ceilings though nothing of ours goes there: they are waited for.
    filled: BTreeMap<StorageName, jiff::Timestamp>,
    /// Measured with nothing in flight since: what does not fit now never will.
    fresh: BTreeSet<StorageName>,
    /// Whose disk could not be measured: what does not fit by the last figures is left.
    unmeasured: BTreeMap<StorageName, String>,
    /// Moves that failed before a worker took them, and were not tried again yet: they may be read-only for good.
    suspects: BTreeSet<usize>,
    /// What earlier runs moved, nobody knows how far: left alone.
    doubted: BTreeSet<Container>,
    /// Failed attempts of earlier runs.
    tries: BTreeMap<Container, Tried>,
    /// Ends that the state holds and no checkpoint names yet.
    holds: Vec<Container>,
    /// What waits for a window or for the next day.
    hours: hours::Hours,
    eta: Eta,
    /// Where the journals of all runs are kept.
    runs: camino::Utf8PathBuf,
    /// What waits for longer is left to a later run.
    max_wait: Option<Duration>,
    /// One weight after the other: GitLab's map is replaced whole.
    settings: Arc<tokio::sync::Mutex<()>>,
    /// GitLab's version, and whether its workers may be restarting.
    watch: version::Watch,
    patience: Patience,
    /// Programs that have to end well yet at the end of waves.
    hooks_due: BTreeMap<String, usize>,
    asked: Option<jiff::Timestamp>,
    asking: bool,
    unsaved: u64,
    fatal: Option<String>,
    in_doubt: bool,
    sender: UnboundedSender<Message>,
    receiver: UnboundedReceiver<Message>,
}

impl<'a> Engine<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        state: State,
        mut mover: Mover,
        store: Arc<dyn Store>,
        stop: CancellationToken,
        patience: Patience,
    ) -> Self {
        let (sender, receiver) = unbounded_channel();
        let told = sender.clone();
        mover.landed = Arc::new(move |container| drop(told.send(Message::Landed(container))));
        let watch = version::Watch::new(&mover.rules.version);
        let learned = Arc::clone(&mover.rules.learned);
        state.quarantined().for_each(|(container, _)| mover.poller.dead(container));
        Self {
            plan,
            state,
            watch,
            asked: None,
            asking: false,
            summary: Summary::default(),
            mover,
            store,
            stop,
            stopping: false,
            queue: Queue::new(plan),
            waves: BTreeMap::new(),
            running: 0,
            slots: Slots::new(plan),
            pace: Pace::new(plan),
            pacing: pace::Pacing::default(),
            launched: BTreeSet::new(),
            predicted: BTreeMap::new(),
            looked_into: BTreeSet::new(),
            room: Room::new(plan),
            pools: Pools::new(&plan.moves),
            crowds: BTreeMap::new(),
            full: BTreeSet::new(),
            towards: BTreeMap::new(),
            measuring: BTreeSet::new(),
            away: BTreeSet::new(),
            measured_at: BTreeMap::new(),
            filled: BTreeMap::new(),
            fresh: BTreeSet::new(),
            unmeasured: BTreeMap::new(),
            suspects: BTreeSet::new(),
            doubted: BTreeSet::new(),
            tries: BTreeMap::new(),
            holds: Vec::new(),
            hours: hours::Hours::new(plan, learned),
            eta: Eta::new(
                plan.moves.iter().map(|one| plan.durations.of(&one.source, &one.destination).expected_ms(one.copied())),
            ),
            runs: camino::Utf8PathBuf::new(),
            max_wait: None,
            settings: Arc::default(),
            patience,
            hooks_due: BTreeMap::new(),
            unsaved: 0,
            fatal: None,
            in_doubt: false,
            sender,
            receiver,
        }
    }

    /// Says where journals are kept, and how long the run waits for anything.
    pub(crate) fn waiting(mut self, runs: camino::Utf8PathBuf, max_wait: Option<Duration>) -> Self {
        (self.runs, self.max_wait) = (runs, max_wait);
        self.watch.max_wait = max_wait.map(|most| most.as_secs());
        self
    }

    /// Says what earlier runs moved of which it is not known how it ended.
    pub(crate) fn leaving(mut self, doubted: BTreeSet<Container>) -> Self {
        self.doubted = doubted;
        self
    }

    /// Says what was tried by earlier runs and failed: it counts on.
    pub(crate) fn tried(mut self, tries: BTreeMap<Container, Tried>) -> Self {
        self.tries = tries;
        self
    }

    fn tell(&self, event: Event) {
        let _ = self.mover.events.send(event);
    }

    fn ports(&self) -> &Ports {
        &self.mover.ports
    }

    fn journal(&self) -> &Journal {
        &self.mover.journal
    }

    fn action(&self, id: ActionId) -> Option<&'a Action> {
        self.plan.actions.get(id.0 as usize)
    }

    /// Runs to the end. True beside the result: something is in doubt, and the journal must be kept.
    pub(crate) async fn run(mut self) -> (RunResult, bool) {
        let began = self.ports().clock.now();
        let plan = self.plan;
        self.rename().await;
        self.carry_over();
        loop {
            if self.stop.is_cancelled() && !self.stopping {
                self.begin_stop();
            }
            let halts = self.halts();
            // Who waits for the end of a wave is told of it whatever comes after.
            let whole = self.fatal.is_none();
            let begins = |id: ActionId| !halts || whole && plan.actions.get(id.0 as usize).is_some_and(tells_of_an_end);
            for id in self.queue.ready_of(begins) {
                self.start(id);
            }
            if halts {
                self.mover.held.store(true, Ordering::Relaxed);
            } else {
                self.fill();
            }
            if self.close_waves().await {
                // That may have made others ready.
                continue;
            }
            if self.running == 0 && self.waves.is_empty() {
                break;
            }
            let (stop, poller) = (self.stop.clone(), self.mover.poller.clone());
            tokio::select! {
                biased;
                () = stop.cancelled(), if !self.stopping => self.begin_stop(),
                () = poller.news() => self.worked().await,
                message = self.receiver.recv() => {
                    if let Some(message) = message {
                        self.take(message).await;
                    }
                }
            }
        }
        self.finish(began).await
    }

    /// Gives records their new addresses, before anything is recorded under them.
    async fn rename(&mut self) {
        let renames = &self.plan.renames;
        if renames.iter().filter(|one| self.state.rename(&one.from, &one.to)).count() > 0 {
            self.save().await;
        }
    }

    /// Asks GitLab for its version, when that has not been done for a while, or, while it holds, after a while.
    fn ask_version(&mut self) {
        let (now, holds) = (self.ports().clock.now(), self.watch.holds());
        let every = jiff::SignedDuration::from_secs(i64::try_from(version::EVERY).unwrap_or(i64::MAX));
        let asked = *self.asked.get_or_insert(now);
        if self.asking || (!holds && now.duration_since(asked) < every) {
            return;
        }
        (self.asking, self.asked) = (true, Some(now));
        // Counted as running, so that the loop waits for its answer.
        self.running += 1;
        let (ports, sender, stop) = (self.ports().clone(), self.sender.clone(), self.stop.clone());
        let work = async move {
            if holds {
                tokio::select! {
                    () = ports.clock.sleep(Duration::from_secs(version::EVERY)) => {}
                    () = stop.cancelled() => {}
                }
            }
            ports.gitlab.version().await.ok().map(|found| found.version)
        };
        guarded(work, |_| None, move |version| drop(sender.send(Message::Version(version))));
    }

    /// Nothing new is begun: a signal came, a gate said no, or the state cannot be written.
    fn halts(&self) -> bool {
        self.stopping || self.fatal.is_some() || self.patience.closed
    }

    fn begin_stop(&mut self) {
        self.stopping = true;
        let in_flight = self.waves.values().map(|w| w.in_flight as u64).sum();
        let expected_seconds = self.longest_in_flight();
        self.tell(Event::Stopping { in_flight, expected_seconds });
    }

    /// Seconds until what flies has ended or is set aside: at p95, or, for what has taken longer already, until it counts as
    /// stuck and its bytes were looked at.
    fn longest_in_flight(&self) -> u64 {
        let now = self.ports().clock.now();
        let freezing = lock(&self.mover.freezing);
        let of = |at: &usize| {
            let planned = self.plan.moves.get(*at)?;
            let since = freezing.get(&planned.container)?;
            let took = now.duration_since(*since).unsigned_abs().as_secs();
            let fit = self.mover.rules.learned.of(&planned.source, &planned.destination);
            let usual = fit.p95_ms(planned.copied()).div_ceil(1000);
            let most = if took < usual { usual } else { super::mover::longest_stuck(&fit, planned.copied()).max(took) };
            Some(most - took)
        };
        self.launched.iter().filter_map(of).max().unwrap_or(0)
    }

    async fn finish(mut self, began: jiff::Timestamp) -> (RunResult, bool) {
        for id in self.queue.not_started() {
            if let Some(action) = self.action(id) {
                self.summary.not_started += 1;
                self.tell(Event::ActionEnded { address: action.address.clone(), outcome: Outcome::NotStarted });
            }
        }
        if self.unsaved > 0 {
            self.save().await;
        }
        let seconds = self.ports().clock.now().duration_since(began).unsigned_abs().as_secs();
        self.summary.seconds = seconds;
        self.summary.interrupted = self.stopping;
        self.name_suspects();
        self.account_for_time();
        let result = RunResult { state: self.state, summary: self.summary, fatal: self.fatal };
        (result, self.in_doubt)
    }

    async fn take(&mut self, message: Message) {
        match message {
            Message::Weight(id, outcome, remarks) => {
                self.running -= 1;
                self.summary.remarks.extend(remarks.iter().cloned());
                remarks.into_iter().for_each(|message| self.tell(Event::Warning { message }));
                if let (Outcome::Done { .. }, Some(Change::SetWeight { storage, to, .. })) =
                    (&outcome, self.action(id).map(|a| &a.change))
                {
                    self.state.storage_mut(storage).weight = Some(*to);
                    self.last_step(id);
                    self.save().await;
                }
                self.step_done(id, &outcome).await;
                self.end(id, outcome);
            }
            Message::Proof(id, outcome, digest) => {
                self.running -= 1;
                if let (Some(digest), Some(Change::ProveEmpty { storage })) =
                    (digest, self.action(id).map(|a| &a.change))
                {
                    let record = self.state.storage_mut(storage);
                    record.drained = Some(digest);
                    // Nothing is left there, so nothing that GitLab had left.
                    record.left.clear();
                    self.save().await;
                    self.happened(HookEvent::DrainProven, id, [("storage", serde_json::json!(storage))]);
                }
                self.end(id, outcome);
            }
            Message::Cluster(id, ended) => self.clustered(id, *ended).await,
            Message::Prepared(id, Ok(prepared)) => self.open_wave(id, prepared).await,
            Message::Prepared(id, Err(outcome)) => {
                self.running -= 1;
                self.end(id, outcome);
            }
            Message::Measured(name, measured) => {
                self.running -= 1;
                if measured.is_err() && self.away.contains(&name) {
                    // It is asked until it answers, by another question than this one.
                    return;
                }
                self.measuring.remove(&name);
                self.away.remove(&name);
                let in_flight = self.towards.get(&name).copied().unwrap_or_default();
                match measured {
                    Ok(Some(space)) => {
                        self.room.measured(&name, space, in_flight.0);
                        self.unmeasured.remove(&name);
                        self.full.remove(&name);
                        if self.room.free(&name) > 0 {
                            self.filled.remove(&name);
                        }
                        self.alarm(&name);
                        if in_flight.1 == 0 {
                            self.fresh.insert(name);
                        }
                    }
                    Ok(None) => drop(self.unmeasured.insert(name, "Gitaly cannot say how full it is".to_owned())),
                    Err(e) => drop(self.unmeasured.insert(name, e.to_string())),
                }
            }
            Message::Away(name, cause) => self.away(name, &cause),
            Message::Version(version) => {
                self.running -= 1;
                self.asking = false;
                let word = self.watch.answer(version.as_deref(), self.ports().clock.now());
                self.heard(word);
            }
            Message::RetryDue(id, at) => self.due(id, at),
            Message::Foreign(id, at, live, ended) => self.foreign_over(id, at, &live, ended),
            Message::Hour(at) => self.rung(at),
            Message::Moved(id, at, ended) => self.moved(id, at, ended).await,
            Message::Landed(container) => self.landed(container),
            Message::Paced(answers) => self.paced(*answers).await,
            Message::Held(id, ended) => self.held(id, *ended).await,
            Message::Probed(id, ended) => self.probed(id, *ended).await,
            Message::Hooked(id, ended) => self.hooked(id, ended).await,
        }
    }

    async fn open_wave(&mut self, id: ActionId, prepared: Prepared) {
        self.running -= 1;
        let Some(action) = self.action(id) else { return };
        let Change::Moves { wave: name, source, first, order, .. } = &action.change else { return };
        for (storage, filesystem_id) in &prepared.filesystem_ids {
            let record = self.state.storage_mut(storage);
            record.filesystem_id.get_or_insert_with(|| filesystem_id.clone());
        }
        self.state.storage_mut(source).drained = None;
        if let Some(threshold) = self.plan.samples.get(name) {
            let old = self.state.wave(name).cloned().unwrap_or_default();
            let record = WaveRecord { sample_threshold: Some(threshold.clone()), ..old };
            self.state.records.insert(crate::model::Address::new("wave", name.as_str()), Record::Wave(record));
        }
        self.wave_begins(name, prepared.disks.keys());
        // A disk that moves of this run went to already keeps its figures: they count what the new ones may not show yet.
        for (storage, space) in &prepared.disks {
            if self.room.knows(storage) {
                continue;
            }
            let in_flight = self.towards.get(storage).copied().unwrap_or_default();
            self.room.measured(storage, *space, in_flight.0);
        }
        self.save().await;
        let waiting = Waiting::new(self.plan, source, *first as usize, self.plan.moves_of(action), *order);
        let mut wave = Wave::new(name, source, waiting, &prepared);
        for (at, planned) in (*first as usize..).zip(self.plan.moves_of(action)).filter(|_| !self.tries.is_empty()) {
            if let Some(Tried { attempts, said }) = self.tries.get(&planned.container) {
                wave.tried(at, *attempts, said.clone());
            }
        }
        self.waves.insert(id, wave);
        self.leave_doubted(id, *first as usize);
        prepared.disks.keys().for_each(|storage| self.alarm(storage));
        self.keep_pace(true);
    }

    /// Ends the waves that have nothing more to do; false when there was none.
    async fn close_waves(&mut self) -> bool {
        let stop = self.halts();
        let over: Vec<ActionId> = self.waves.iter().filter(|(_, w)| w.is_over(stop)).map(|(id, _)| *id).collect();
        let any = !over.is_empty();
        for id in over {
            let Some(wave) = self.waves.remove(&id) else { continue };
            let outcome = wave.outcome(stop);
            if matches!(outcome, Outcome::Done { .. }) {
                tally::wave_passed(&mut self.state, &wave.name, wave.verified.iter());
            }
            if self.unsaved > 0 || matches!(outcome, Outcome::Done { .. }) {
                self.save().await;
            }
            self.end(id, outcome);
        }
        any
    }

    fn end(&mut self, id: ActionId, outcome: Outcome) {
        let Some(action) = self.action(id) else { return };
        match &outcome {
            Outcome::Done { .. } => self.summary.done += 1,
            Outcome::Failed { .. } => self.summary.failed += 1,
            Outcome::Stale { .. } => self.summary.stale += 1,
            Outcome::Refused { .. } => self.summary.refused += 1,
            Outcome::NotStarted => self.summary.not_started += 1,
            Outcome::Skipped { .. } => self.summary.skipped += 1,
            Outcome::GateClosed { .. } => self.summary.gates_closed += 1,
            Outcome::Paused { .. } => self.summary.paused += 1,
        }
        let well = matches!(outcome, Outcome::Done { .. });
        let stopped = matches!(outcome, Outcome::NotStarted);
        self.tell(Event::ActionEnded { address: action.address.clone(), outcome });
        if well {
            self.queue.finish(id);
        } else if !stopped {
            for skipped in self.queue.fail(id) {
                if let (Some(skipped), Some(because)) = (self.action(skipped.id), self.action(skipped.because)) {
                    self.summary.skipped += 1;
                    let outcome = Outcome::Skipped { because: because.address.clone() };
                    self.tell(Event::ActionEnded { address: skipped.address.clone(), outcome });
                }
            }
        }
    }

    /// Writes the state: first what it will be into the journal, then the file.
    async fn save(&mut self) {
        let (state, holds) = (self.state.digest(), std::mem::take(&mut self.holds));
        if let Err(e) = self.journal().append(vec![Entry::Checkpoint { state, holds }]).await {
            self.fatal = Some(e.to_string());
            return;
        }
        if let Err(e) = self.store.save(&self.state) {
            self.fatal = Some(format!("the state could not be written: {e}"));
        }
        self.unsaved = 0;
    }
}
