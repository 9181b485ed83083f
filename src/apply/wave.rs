//! One wave of moves on one source, while it runs: what waits, what flies, when it is over and how it ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::event::Outcome;
use super::mover::Task;
use super::port::Ports;
use crate::model::{Address, DiskSpace, StorageName};
use crate::plan::{Plan, PlannedMove};

/// So many failures in a row on one pair of storages end its wave.
const IN_A_ROW: u32 = 3;
/// More failures than this share, over at least [`FAILURES_OVER`] moves, end the wave.
const FAILURES_PERCENT: u64 = 2;
const FAILURES_OVER: u64 = 50;
/// More unknown verdicts than this share, and at least [`UNKNOWN_LEAST`], end the wave (law 4).
const UNKNOWN_PERCENT: u64 = 1;
const UNKNOWN_LEAST: u64 = 10;
/// So many attempts in a row that could not ask GitLab or a Gitaly end the wave, with nothing set aside. Each has waited half
/// a minute by itself and a minute before: an outage of ten minutes is sat out at four moves at once.
const UNREACHABLE_IN_A_ROW: u32 = 30;
/// Seconds per move and bytes per second for saying how long what is in flight may take.
const EXPECT_SECONDS: u64 = 10;
const EXPECT_BYTES_PER_SECOND: u64 = 30_000_000;

/// What a wave learned of its storages before its first move.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) filesystem_ids: BTreeMap<StorageName, String>,
    pub(crate) disks: BTreeMap<StorageName, DiskSpace>,
}

/// Re-reads what the moves rely on: the same disks as planned behind source and destinations, and room.
pub(crate) async fn prepare(
    ports: &Ports,
    source: &StorageName,
    destinations: BTreeSet<StorageName>,
    planned: &BTreeMap<StorageName, String>,
) -> Result<Prepared, Outcome> {
    let failed = |cause: String| Outcome::Failed { cause };
    let mut prepared = Prepared { filesystem_ids: BTreeMap::new(), disks: BTreeMap::new() };
    for name in std::iter::once(source).chain(&destinations) {
        let server = ports.gitaly.server(name).await.map_err(|e| failed(e.to_string()))?;
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
            let space = ports.gitaly.disk(name).await.map_err(|e| failed(e.to_string()))?;
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
    pending: BTreeMap<StorageName, VecDeque<usize>>,
    differ: BTreeMap<StorageName, bool>,
    pub(crate) attempts: BTreeMap<usize, u32>,
    causes: BTreeMap<usize, String>,
    pub(crate) in_flight: usize,
    pub(crate) flying: BTreeSet<usize>,
    /// Failed moves whose next attempt is not due yet.
    pub(crate) waiting: usize,
    pub(crate) in_doubt: usize,
    pub(crate) verified: BTreeSet<Address>,
    ended: u64,
    failed: u64,
    unknown: u64,
    in_a_row: BTreeMap<StorageName, u32>,
    unreachable: u32,
    closed: Option<String>,
    /// What is left waits for longer than the run does: until when, in words.
    paused: Option<String>,
}

impl Wave {
    pub(crate) fn new(
        name: &str,
        source: &StorageName,
        first: usize,
        moves: &[PlannedMove],
        prepared: &Prepared,
    ) -> Self {
        let mut pending: BTreeMap<StorageName, VecDeque<usize>> = BTreeMap::new();
        for (at, planned) in moves.iter().enumerate() {
            pending.entry(planned.destination.clone()).or_default().push_back(first + at);
        }
        let ids = &prepared.filesystem_ids;
        let differ = |d: &StorageName| match (ids.get(source), ids.get(d)) {
            (Some(a), Some(b)) => a != b && !a.is_empty() && !b.is_empty(),
            _ => false,
        };
        let differ = pending.keys().map(|d| (d.clone(), differ(d))).collect();
        Self {
            name: name.to_owned(),
            source: source.clone(),
            pending,
            differ,
            attempts: BTreeMap::new(),
            causes: BTreeMap::new(),
            in_flight: 0,
            flying: BTreeSet::new(),
            waiting: 0,
            in_doubt: 0,
            verified: BTreeSet::new(),
            ended: 0,
            failed: 0,
            unknown: 0,
            in_a_row: BTreeMap::new(),
            unreachable: 0,
            closed: None,
            paused: None,
        }
    }

    /// The next move in the plan's order whose destination is usable.
    pub(crate) fn next(&self, usable: impl Fn(&StorageName) -> bool) -> Option<(StorageName, usize)> {
        if self.closed.is_some() {
            return None;
        }
        self.pending
            .iter()
            .filter(|(d, _)| usable(d))
            .filter_map(|(d, queue)| queue.front().map(|at| (d, *at)))
            .min_by_key(|(_, at)| *at)
            .map(|(d, at)| (d.clone(), at))
    }

    /// Takes a move off the queue of its destination.
    pub(crate) fn begin(&mut self, destination: &StorageName, at: usize, planned: PlannedMove) -> Task {
        self.drop_front(destination);
        self.in_flight += 1;
        self.flying.insert(at);
        let attempt = self.attempts.entry(at).or_insert(0);
        *attempt += 1;
        let disks_differ = self.differ.get(destination).copied().unwrap_or(false);
        Task { planned, wave: self.name.clone(), attempt: *attempt, disks_differ }
    }

    pub(crate) fn drop_front(&mut self, destination: &StorageName) {
        if let Some(queue) = self.pending.get_mut(destination) {
            queue.pop_front();
        }
    }

    /// Puts a move back for its next attempt.
    pub(crate) fn again(&mut self, destination: &StorageName, at: usize) {
        self.pending.entry(destination.clone()).or_default().push_back(at);
    }

    /// Puts a move back that was not begun.
    pub(crate) fn put_back(&mut self, destination: &StorageName, at: usize) {
        self.pending.entry(destination.clone()).or_default().push_front(at);
        self.uncount(at);
    }

    /// Takes a move off its queue that must wait for its hour.
    pub(crate) fn park(&mut self, destination: &StorageName) {
        self.drop_front(destination);
        self.waiting += 1;
    }

    /// Puts a move back whose hour has come: before those that stand behind it in the plan.
    pub(crate) fn unpark(&mut self, destination: &StorageName, at: usize) {
        self.waiting = self.waiting.saturating_sub(1);
        let queue = self.pending.entry(destination.clone()).or_default();
        let place = queue.iter().position(|other| *other > at).unwrap_or(queue.len());
        queue.insert(place, at);
    }

    /// True when nothing flies, and none but the moves that wait for their hour are left to begin.
    pub(crate) fn rests(&self, parked: usize) -> bool {
        self.in_flight == 0 && self.waiting == parked && self.pending.values().all(VecDeque::is_empty)
    }

    /// Leaves what waits to a later run.
    pub(crate) fn pause(&mut self, until: String) {
        self.paused.get_or_insert(until);
    }

    /// Moves that have not begun.
    pub(crate) fn left(&self) -> usize {
        self.pending.values().map(VecDeque::len).sum::<usize>() + self.waiting
    }

    /// An attempt that was none.
    pub(crate) fn uncount(&mut self, at: usize) {
        if let Some(attempts) = self.attempts.get_mut(&at) {
            *attempts = attempts.saturating_sub(1);
        }
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

    /// True when an attempt failed for the very reason of the one before, a checksum that GitLab found different: trying
    /// again would freeze the repository for nothing.
    pub(crate) fn same_cause_twice(&mut self, at: usize, cause: &str) -> bool {
        let same = self.causes.get(&at).is_some_and(|before| before == cause);
        self.causes.insert(at, cause.to_owned());
        same && cause.contains("checksum")
    }

    /// Counts a move's end, and closes the wave when its failures are too many.
    pub(crate) fn ended(&mut self, destination: &StorageName, well: bool) {
        self.ended += 1;
        let in_a_row = self.in_a_row.entry(destination.clone()).or_default();
        if well {
            *in_a_row = 0;
            return;
        }
        self.failed += 1;
        *in_a_row += 1;
        if *in_a_row >= IN_A_ROW {
            let cause = format!("{in_a_row} moves in a row failed from {} to {destination}", self.source);
            self.close(cause);
        } else if self.ended >= FAILURES_OVER && self.failed * 100 > self.ended * FAILURES_PERCENT {
            self.close(format!("{} of {} moves failed", self.failed, self.ended));
        }
    }

    /// Counts an unknown verdict.
    pub(crate) fn unknown(&mut self) {
        self.unknown += 1;
        if self.unknown >= UNKNOWN_LEAST && self.unknown * 100 > self.ended * UNKNOWN_PERCENT {
            self.close(format!("{} of {} moves could not be verified", self.unknown, self.ended));
        }
    }

    /// Schedules nothing more.
    pub(crate) fn close(&mut self, cause: String) {
        self.closed.get_or_insert(cause);
    }

    /// True when nothing flies and nothing more will.
    pub(crate) fn is_over(&self, stopping: bool) -> bool {
        let done = self.waiting == 0 && self.pending.values().all(VecDeque::is_empty);
        self.in_flight == 0 && (done || stopping || self.closed.is_some() || self.paused.is_some())
    }

    /// How it ended.
    pub(crate) fn outcome(&self, stopping: bool) -> Outcome {
        let left = self.left();
        match &self.closed {
            Some(cause) => Outcome::Failed { cause: format!("{cause}; {left} moves were not scheduled") },
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

    /// Seconds of the fleet's clock that what is in flight may take, at a pessimist's rate.
    pub(crate) fn longest_in_flight(&self, plan: &Plan) -> u64 {
        let longest = self.flying.iter().filter_map(|at| plan.moves.get(*at)).map(|m| m.bytes.0).max();
        longest.map_or(0, |bytes| EXPECT_SECONDS + bytes / EXPECT_BYTES_PER_SECOND)
    }
}
