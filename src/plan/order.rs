//! Which move of a wave off one storage goes next: the two-ended rule (safe-migration §8). Big moves are bound by
//! bandwidth and small ones by what a move costs beside its bytes; mixed, both are always at work. A few lanes take the
//! largest that waits, all others the smallest; what may not start now is passed over, and keeps its place.
//!
//! Numbers only, and nothing but the standard library: the engine and the bench's simulator use the same code.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes per second that a storage's disk and network are taken to give where none are declared: what a network disk
/// gives one machine. At ten times that, every lane but one would take giants; at a tenth, one alone would, and a
/// night's giants would stand in one line.
pub const BANDWIDTH: u64 = 400_000_000;

/// How many moves off a source take the largest that waits: enough to fill its bandwidth, and never all slots.
/// `bandwidth` and `rate` (of one copy) are bytes per second.
pub fn big_lanes(slots: u32, bandwidth: u64, rate: u64) -> usize {
    let fill = bandwidth.div_ceil(rate.max(1)).max(1);
    let most = u64::from(slots.saturating_sub(1).max(1));
    usize::try_from(fill.min(most)).unwrap_or(usize::MAX)
}

/// One move, as the order sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// The number of its destination.
    pub to: u32,
    /// Milliseconds that it is expected to take.
    pub work: u64,
}

/// Whether a move may start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// It starts.
    Now,
    /// Nothing goes to its destination now: no slot, no room.
    NotThere,
    /// Not this one: a token that is held, a window, a budget. It is set aside until [`Order::wake`].
    NotThis,
}

/// A move that may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// Its place in the list that the order was made of.
    pub at: usize,
    /// Taken from the large end.
    pub big: bool,
}

/// What waits for one destination, by place: the largest first, so that a place is a rank.
#[derive(Debug, Clone, Default)]
struct Lane {
    waiting: BTreeSet<usize>,
}

/// The moves of one wave off one source that have not begun, and which of those that fly are big.
#[derive(Debug, Clone, Default)]
pub struct Order {
    jobs: Vec<Job>,
    lanes: BTreeMap<u32, Lane>,
    aside: BTreeSet<usize>,
    big: BTreeSet<usize>,
    lanes_for_big: usize,
    waiting: usize,
    left: u64,
}

impl Order {
    /// Begins with all moves waiting; they must come the largest first, ids deciding between equals.
    pub fn new(jobs: Vec<Job>, lanes_for_big: usize) -> Self {
        let mut lanes: BTreeMap<u32, Lane> = BTreeMap::new();
        let mut left = 0u64;
        for (at, job) in jobs.iter().enumerate() {
            lanes.entry(job.to).or_default().waiting.insert(at);
            left = left.saturating_add(job.work);
        }
        let waiting = jobs.len();
        Self { jobs, lanes, aside: BTreeSet::new(), big: BTreeSet::new(), lanes_for_big, waiting, left }
    }

    /// Milliseconds of all that has not begun: the source with most is served first.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// How many have not begun.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Changes how many big moves fly at once: slots were given or taken.
    pub fn set_big_lanes(&mut self, lanes_for_big: usize) {
        self.lanes_for_big = lanes_for_big;
    }

    /// Finds the next move that may start: the largest while fewer big ones fly than there are lanes for them, else the
    /// smallest. `crowd`: big moves in flight to a destination, from wherever; the emptiest is preferred for another.
    /// Each question is asked at most once a decision for a move, and no more for a destination that takes nothing.
    pub fn pick(&mut self, crowd: impl Fn(u32) -> usize, mut may: impl FnMut(usize) -> May) -> Option<Pick> {
        let big = self.big.len() < self.lanes_for_big;
        let mut closed: BTreeSet<u32> = BTreeSet::new();
        loop {
            let open = self.lanes.iter().filter(|(to, _)| !closed.contains(to));
            let found = if big {
                open.filter_map(|(to, lane)| Some((crowd(*to), *lane.waiting.first()?, *to))).min()
            } else {
                open.filter_map(|(to, lane)| Some((0, Reverse(*lane.waiting.last()?), *to)))
                    .min()
                    .map(|(none, at, to)| (none, at.0, to))
            };
            let (_, at, to) = found?;
            match may(at) {
                May::Now => return Some(Pick { at, big }),
                May::NotThere => drop(closed.insert(to)),
                May::NotThis => {
                    if let Some(lane) = self.lanes.get_mut(&to) {
                        lane.waiting.remove(&at);
                        self.aside.insert(at);
                    }
                }
            }
        }
    }

    /// Takes a move out: it starts.
    pub fn begin(&mut self, pick: Pick) {
        if self.remove(pick.at) && pick.big {
            self.big.insert(pick.at);
        }
    }

    /// Takes a move out that will never start. True when it waited.
    pub fn remove(&mut self, at: usize) -> bool {
        let Some(job) = self.jobs.get(at) else { return false };
        let waited = self.lanes.get_mut(&job.to).is_some_and(|lane| lane.waiting.remove(&at)) || self.aside.remove(&at);
        if waited {
            self.waiting -= 1;
            self.left = self.left.saturating_sub(job.work);
        }
        waited
    }

    /// A move that flew has ended.
    pub fn end(&mut self, at: usize) {
        self.big.remove(&at);
    }

    /// Puts a move back in its place: it did not start, or is to be tried again.
    pub fn back(&mut self, at: usize) {
        self.big.remove(&at);
        let Some(job) = self.jobs.get(at) else { return };
        if !self.aside.contains(&at) && self.lanes.entry(job.to).or_default().waiting.insert(at) {
            self.waiting += 1;
            self.left = self.left.saturating_add(job.work);
        }
    }

    /// Asks again for all that was set aside, when the next is looked for.
    pub fn wake(&mut self) {
        for at in std::mem::take(&mut self.aside) {
            if let Some(lane) = self.jobs.get(at).and_then(|job| self.lanes.get_mut(&job.to)) {
                lane.waiting.insert(at);
            }
        }
    }

    /// True when all that waits is set aside.
    pub fn only_aside(&self) -> bool {
        self.waiting > 0 && self.waiting == self.aside.len()
    }
}
