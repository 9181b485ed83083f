//! One wave of moves on one source, while it runs: what waits, what flies, when it is over and how it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::event::Outcome;
use super::failure::Class;
use super::failure::breaker::Breaker;
use super::mover::Task;
use super::order::{Next, Waiting};
use super::port::{PortError, PortResult, Ports};
use crate::model::{Address, DiskSpace, StorageName};
use crate::plan::order::May;
use crate::plan::{Plan, PlannedMove};
use crate::state::journal::Record as Entry;

/// More unknown verdicts than this share, and at least [`UNKNOWN_LEAST`], end the wave (law 4).
const UNKNOWN_PERCENT: u64 = 1;
const UNKNOWN_LEAST: u64 = 10;
/// So many attempts in a row that could not ask GitLab or a Gitaly end the wave, with nothing set aside. Each has waited half
/// a minute by itself and a minute before: an outage of ten minutes is sat out at four moves at once.
const UNREACHABLE_IN_A_ROW: u32 = 30;
/// So often nobody answers about one repository, while others are answered, until it is set aside: at least ten minutes.
const ALONE: u32 = 5;
/// What a wave learned of its storages before its first move.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) filesystem_ids: BTreeMap<StorageName, String>,
    pub(crate) disks: BTreeMap<StorageName, DiskSpace>,
    /// Destinations that did not answer, with the reason: nothing is sent there.
    pub(crate) away: BTreeMap<StorageName, String>,
}

/// A Gitaly that does not answer is asked so often, that far apart by the fleet's clock: ten minutes are a node's restart;
/// at ten times that a wave would wait for a machine that nobody has missed yet.
pub(crate) const AWAY_LOOKS: u32 = 20;
pub(crate) const AWAY_BETWEEN: Duration = Duration::from_secs(30);

/// Asks a Gitaly until it answers, the run stops, or that takes too long.
pub(crate) async fn patiently<T, F: Future<Output = PortResult<T>>>(
    ports: &Ports,
    stop: &CancellationToken,
    waits: impl Fn(&PortError),
    ask: impl Fn() -> F,
) -> PortResult<T> {
    let mut answer = ask().await;
    for look in 0..AWAY_LOOKS {
        match &answer {
            Err(e) if e.is_transient() && !stop.is_cancelled() => {
                if look == 0 {
                    waits(e);
                }
            }
            _ => break,
        }
        tokio::select! {
            () = ports.clock.sleep(AWAY_BETWEEN) => {}
            () = stop.cancelled() => {}
        }
        answer = ask().await;
    }
    answer
}

/// Re-reads what the moves rely on: the same disks as planned behind source and destinations, and room.
pub(crate) async fn prepare(
    ports: &Ports,
    source: &StorageName,
    destinations: BTreeSet<StorageName>,
    planned: &BTreeMap<StorageName, String>,
    stop: &CancellationToken,
    told: impl Fn(String),
) -> Result<Prepared, Outcome> {
    let failed = |cause: String| Outcome::Failed { cause };
    let mut prepared = Prepared { filesystem_ids: BTreeMap::new(), disks: BTreeMap::new(), away: BTreeMap::new() };
    for name in std::iter::once(source).chain(&destinations) {
        let waits =
            |e: &PortError| told(format!("{name} does not answer ({e}); nothing moves to or from it before it does"));
        let server = match patiently(ports, stop, waits, || ports.gitaly.server(name)).await {
            Ok(server) => server,
            // The others go on without it.
            Err(e) if e.is_transient() && name != source => {
                prepared.away.insert(name.clone(), format!("{name} does not answer: {e}"));
                continue;
            }
            Err(e) => return Err(failed(e.to_string())),
        };
        match planned.get(name) {
            Some(expected) if *expected == server.filesystem_id => {}
            expected => {
                let expected = expected.map_or("none", String::as_str);
                let found = server.filesystem_id;
                let cause =
                    format!("another disk is behind {name}: filesystem id {found:?}, planned with {expected:?}");
                return Err(Outcome::Stale { cause });
            }
        }
        // Pods that were made since the plan are in none of its comparisons.
        let of_source = prepared.filesystem_ids.get(source);
        if name != source && (server.filesystem_id.is_empty() || of_source == Some(&server.filesystem_id)) {
            return Err(failed(super::cluster::same_disk(name, source)));
        }
        prepared.filesystem_ids.insert(name.clone(), server.filesystem_id);
        if name != source {
            let space = match patiently(ports, stop, |_| {}, || ports.gitaly.disk(name)).await {
                Err(e) if e.is_transient() => {
                    prepared.away.insert(name.clone(), format!("{name} does not answer: {e}"));
                    continue;
                }
                space => space.map_err(|e| failed(e.to_string()))?,
            };
            let space = space.ok_or_else(|| failed(format!("{name}: Gitaly cannot say how full its disk is")))?;
            prepared.disks.insert(name.clone(), space);
        }
    }
    Ok(prepared)
}

/// A wave that runs.
#[derive(Debug)]
pub(crate) struct Wave {
    pub(crate) name: String,
    pub(crate) source: StorageName,
    pending: Waiting,
    differ: BTreeMap<StorageName, bool>,
    pub(crate) attempts: BTreeMap<usize, u32>,
    /// What failed attempts said, and the last delay, seconds.
    pub(crate) tries: BTreeMap<usize, (Vec<String>, u64)>,
    /// Pairs of storages on which nothing more is scheduled.
    pub(crate) breaker: Breaker,
    pub(crate) in_flight: usize,
    pub(crate) flying: BTreeSet<usize>,
    /// Failed moves whose next attempt is not due yet, by destination.
    waiting: BTreeMap<StorageName, usize>,
    pub(crate) in_doubt: usize,
    pub(crate) verified: BTreeSet<Address>,
    ended: u64,
    failed: u64,
    unknown: u64,
    unreachable: u32,
    /// How often nobody answered about a move while others were answered.
    alone: BTreeMap<usize, u32>,
    closed: Option<String>,
    /// What is left waits for longer than the run does: until when, in words.
    paused: Option<String>,
}

impl Wave {
    pub(crate) fn new(name: &str, source: &StorageName, pending: Waiting, prepared: &Prepared) -> Self {
        let ids = &prepared.filesystem_ids;
        let differ = |d: &StorageName| match (ids.get(source), ids.get(d)) {
            (Some(a), Some(b)) => a != b && !a.is_empty() && !b.is_empty(),
            _ => false,
        };
        let mut breaker = Breaker::default();
        prepared.away.iter().for_each(|(destination, why)| drop(breaker.pause(destination, why.clone())));
        let differ = ids.keys().filter(|d| *d != source).map(|d| (d.clone(), differ(d))).collect();
        Self {
            name: name.to_owned(),
            source: source.clone(),
            pending,
            differ,
            attempts: BTreeMap::new(),
            tries: BTreeMap::new(),
            breaker,
            in_flight: 0,
            flying: BTreeSet::new(),
            waiting: BTreeMap::new(),
            in_doubt: 0,
            verified: BTreeSet::new(),
            ended: 0,
            failed: 0,
            unknown: 0,
            unreachable: 0,
            alone: BTreeMap::new(),
            closed: None,
            paused: None,
        }
    }

    /// The next move that may start; `crowd`: big moves in flight to a destination.
    pub(crate) fn next(
        &mut self,
        crowd: impl Fn(&StorageName) -> usize,
        mut may: impl FnMut(&StorageName, usize) -> May,
    ) -> Option<Next> {
        if self.closed.is_some() || self.paused.is_some() {
            return None;
        }
        let Self { pending, breaker, .. } = self;
        pending.next(crowd, |to, at| if breaker.is_paused(to) { May::NotThere } else { may(to, at) })
    }

    /// How much has not begun: the wave with most is served first.
    pub(crate) fn left(&self) -> u64 {
        self.pending.left()
    }

    /// True when moves of it go there.
    pub(crate) fn goes_to(&self, storage: &StorageName) -> bool {
        self.pending.goes_to(storage)
    }

    /// Takes a move off the queue.
    pub(crate) fn begin(&mut self, next: &Next, planned: PlannedMove) -> Task {
        self.pending.begin(next);
        self.in_flight += 1;
        self.flying.insert(next.at);
        let attempt = self.attempts.entry(next.at).or_insert(0);
        *attempt += 1;
        let disks_differ = self.differ.get(&next.destination).copied().unwrap_or(false);
        Task { planned, wave: self.name.clone(), attempt: *attempt, disks_differ, until: None }
    }

    /// What is journaled when nothing of it is left to begin.
    pub(crate) fn closing(&self, plan: &Plan) -> Option<Entry> {
        if self.unbegun() > 0 || self.closed.is_some() {
            return None;
        }
        let flying = || self.flying.iter().filter_map(|at| plan.moves.get(*at));
        let assignments = self.verified.iter().cloned().chain(flying().map(|one| one.assignment.clone()));
        Some(Entry::Closing {
            wave: self.name.clone(),
            source: self.source.clone(),
            assignments: assignments.collect(),
            flying: flying().map(|one| one.container).collect(),
        })
    }

    /// A move is not in flight any more; true when it was a big one.
    pub(crate) fn landed(&mut self, at: usize) -> bool {
        self.in_flight -= 1;
        self.flying.remove(&at);
        self.pending.end(at)
    }

    /// Takes in what attempts of earlier runs came to.
    pub(crate) fn tried(&mut self, at: usize, attempts: u32, said: Vec<String>) {
        self.attempts.insert(at, attempts);
        self.tries.insert(at, (said, 0));
    }

    /// A move in flight copies no more; true when it was a big one.
    pub(crate) fn ends_copying(&mut self, at: usize) -> bool {
        self.pending.end(at)
    }

    /// A move will never start.
    pub(crate) fn give_up(&mut self, at: usize) {
        self.pending.give_up(at);
    }

    /// Puts a move back in its place for its next attempt.
    pub(crate) fn again(&mut self, at: usize) {
        self.pending.back(at);
    }

    /// Puts a move back that was not begun.
    pub(crate) fn put_back(&mut self, at: usize) {
        self.pending.back(at);
        self.uncount(at);
    }

    /// Asks anew for moves that were set aside: what kept them may have changed.
    pub(crate) fn wake(&mut self) {
        self.pending.wake();
    }

    /// Takes a move off the queue that must wait for its hour.
    pub(crate) fn park(&mut self, destination: &StorageName, at: usize) {
        self.pending.give_up(at);
        self.wait(destination);
    }

    /// Puts a move back whose hour has come.
    pub(crate) fn unpark(&mut self, destination: &StorageName, at: usize) {
        self.due(destination);
        self.pending.back(at);
    }

    /// True when nothing flies, and none but the moves that wait for their hour are left to begin.
    pub(crate) fn rests(&self, parked: usize) -> bool {
        let waits = self.waiting.values().sum::<usize>() == parked;
        // What goes to a paused destination is not begun in this run.
        self.in_flight == 0 && waits && self.pending.count(|to| !self.breaker.is_paused(to)) == 0
    }

    /// Moves that have not begun.
    pub(crate) fn unbegun(&self) -> usize {
        self.left_to(true)
    }

    /// An attempt that was none.
    pub(crate) fn uncount(&mut self, at: usize) {
        if let Some(attempts) = self.attempts.get_mut(&at) {
            *attempts = attempts.saturating_sub(1);
        }
    }

    /// Counts that nobody answered about a move while others were answered; true when that was so too often.
    pub(crate) fn is_alone(&mut self, at: usize) -> bool {
        let times = self.alone.entry(at).or_default();
        *times += 1;
        *times >= ALONE
    }

    /// Something answered.
    pub(crate) fn reached(&mut self) {
        self.unreachable = 0;
    }

    /// Counts an attempt that found nobody to ask; true, and the wave closed, when that was so for long.
    pub(crate) fn gives_up(&mut self, cause: &str) -> bool {
        self.unreachable += 1;
        if self.unreachable >= UNREACHABLE_IN_A_ROW {
            self.close(cause.to_owned());
        }
        self.closed.is_some()
    }

    /// Notes what a failed attempt said; true when the one before said the very same.
    pub(crate) fn says_the_same(&mut self, at: usize, cause: &str) -> bool {
        let (said, _) = self.tries.entry(at).or_default();
        let same = said.last().is_some_and(|before| before == cause);
        said.push(cause.to_owned());
        same
    }

    /// A move ended well.
    pub(crate) fn well(&mut self, destination: &StorageName) {
        self.ended += 1;
        self.breaker.well(destination);
    }

    /// A repository was set aside. Says why its pair is paused, when that is so from now on.
    pub(crate) fn failed(&mut self, destination: &StorageName, class: Class) -> Option<String> {
        self.ended += 1;
        self.failed += 1;
        self.breaker.failed(&self.source, destination, class)
    }

    /// A move waits for its next attempt.
    pub(crate) fn wait(&mut self, destination: &StorageName) {
        *self.waiting.entry(destination.clone()).or_default() += 1;
    }

    /// Its time has come.
    pub(crate) fn due(&mut self, destination: &StorageName) {
        if let Some(waiting) = self.waiting.get_mut(destination) {
            *waiting = waiting.saturating_sub(1);
        }
    }

    /// Schedules nothing more: it would have to wait for too long.
    pub(crate) fn pause(&mut self, until: &str) {
        self.paused.get_or_insert_with(|| until.to_owned());
    }

    /// Moves that are neither under way nor ended; with `all`, those of paused pairs too.
    fn left_to(&self, all: bool) -> usize {
        let counts = |d: &StorageName| all || !self.breaker.is_paused(d);
        let pending = if all || self.breaker.is_whole() { self.pending.len() } else { self.pending.count(counts) };
        pending + self.waiting.iter().filter(|(d, _)| counts(d)).map(|(_, n)| *n).sum::<usize>()
    }

    /// Counts an unknown verdict.
    pub(crate) fn unknown(&mut self) {
        self.unknown += 1;
        if self.unknown >= UNKNOWN_LEAST && self.unknown * 100 > self.ended * UNKNOWN_PERCENT {
            self.close(format!("{} of {} moves could not be verified", self.unknown, self.ended));
        }
    }

    /// True when nothing more is scheduled.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Schedules nothing more.
    pub(crate) fn close(&mut self, cause: String) {
        self.closed.get_or_insert(cause);
    }

    /// True when nothing flies and nothing more will.
    pub(crate) fn is_over(&self, stopping: bool) -> bool {
        let ends = stopping || self.closed.is_some() || self.paused.is_some();
        self.in_flight == 0 && (ends || self.left_to(false) == 0)
    }

    /// How it ended.
    pub(crate) fn outcome(&self, stopping: bool) -> Outcome {
        let left = self.unbegun();
        match &self.closed {
            Some(cause) => Outcome::Failed { cause: format!("{cause}; {left} moves were not scheduled") },
            None if self.paused.is_some() => Outcome::Paused { until: self.paused.clone().unwrap_or_default() },
            None if left > 0 && !stopping => {
                let reasons: Vec<&str> = self.breaker.reasons().map(|(_, why)| why).collect();
                Outcome::Failed { cause: format!("{}; {left} moves were not scheduled", reasons.join("; ")) }
            }
            None if self.in_doubt > 0 => {
                Outcome::Failed { cause: format!("{} moves could not be followed to their end", self.in_doubt) }
            }
            None if left > 0 && stopping => Outcome::NotStarted,
            None if left > 0 && self.paused.is_some() => {
                Outcome::Paused { until: self.paused.clone().unwrap_or_default() }
            }
            None if self.failed > 0 => Outcome::Done { detail: format!("{} set aside", self.failed) },
            None => Outcome::Done { detail: String::new() },
        }
    }
}
