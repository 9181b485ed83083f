//! Which move of a wave off one storage goes next: the two-ended rule (safe-migration §8). Big moves are bound by
//! bandwidth and small ones by what a move costs beside its bytes; mixed, both are always at work. A few lanes take the
//! largest that waits, all others the smallest; what may not start now is passed over, and keeps its place.
//!
//! Numbers only, and nothing but the standard library: the engine and the bench's simulator use the same code.

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

    /// How many of those to some destinations have not begun.
    pub fn waiting_to(&self, counts: impl Fn(u32) -> bool) -> usize {
        let lanes = self.lanes.iter().filter(|(to, _)| counts(**to)).map(|(_, lane)| lane.waiting.len()).sum::<usize>();
        lanes + self.aside.iter().filter(|at| self.jobs.get(**at).is_some_and(|job| counts(job.to))).count()
    }

    /// Changes how many big moves fly at once: slots were given or taken.
    pub fn set_big_lanes(&mut self, lanes_for_big: usize) {
        self.lanes_for_big = lanes_for_big;
    }

    /// Finds the next move that may start: the largest while fewer big ones fly than there are lanes for them, else, or
    /// when none of those may, the smallest. `crowd`: big moves in flight to a destination, from wherever; the emptiest
    /// is preferred for another.
    pub fn pick(&mut self, crowd: impl Fn(u32) -> usize, mut may: impl FnMut(usize) -> May) -> Option<Pick> {
        let big = (self.big.len() < self.lanes_for_big).then(|| self.look(true, &crowd, &mut may)).flatten();
        big.or_else(|| self.look(false, &crowd, &mut may))
    }

    /// Looks at one end. A destination that takes nothing is asked for once.
    fn look(&mut self, big: bool, crowd: &impl Fn(u32) -> usize, may: &mut impl FnMut(usize) -> May) -> Option<Pick> {
        let mut closed: BTreeSet<u32> = BTreeSet::new();
        loop {
            let open = self.lanes.iter().filter(|(to, _)| !closed.contains(to));
            let (at, to) = if big {
                let heads = open.filter_map(|(to, lane)| Some((crowd(*to), *lane.waiting.first()?, *to)));
                heads.min().map(|(_, at, to)| (at, to))
            } else {
                open.filter_map(|(to, lane)| Some((*lane.waiting.last()?, *to))).max()
            }?;
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

    /// A move that flew has ended; true when it was a big one.
    pub fn end(&mut self, at: usize) -> bool {
        self.big.remove(&at)
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn jobs(to: &[u32]) -> Vec<Job> {
        (0u64..).zip(to).map(|(n, to)| Job { to: *to, work: 100 - n }).collect()
    }

    /// Starts moves until none may.
    fn all(order: &mut Order, mut may: impl FnMut(usize) -> May) -> Vec<(usize, bool)> {
        let mut picks = Vec::new();
        while let Some(pick) = order.pick(|_| 0, &mut may) {
            order.begin(pick);
            picks.push((pick.at, pick.big));
        }
        picks
    }

    #[test]
    fn lanes_fill_the_bandwidth_and_leave_a_slot() {
        let of = |slots, bandwidth, rate| big_lanes(slots, bandwidth, rate);
        assert_eq!([of(1, 400, 60), of(2, 400, 60), of(4, 400, 60), of(16, 400, 60)], [1, 1, 3, 7]);
        assert_eq!([of(16, 120, 60), of(16, 1, 60), of(16, 400, 0), of(0, 400, 60)], [2, 1, 15, 1]);
    }

    #[test]
    fn the_largest_take_their_lanes_and_the_smallest_the_rest() {
        let mut order = Order::new(jobs(&[0; 6]), 2);
        assert_eq!(
            all(&mut order, |_| May::Now),
            [(0, true), (1, true), (5, false), (4, false), (3, false), (2, false)]
        );
        let mut order = Order::new(jobs(&[0; 4]), 1);
        let first = order.pick(|_| 0, |_| May::Now).expect("one");
        order.begin(first);
        assert!(order.end(0));
        assert_eq!(order.pick(|_| 0, |_| May::Now), Some(Pick { at: 1, big: true }));
        // Without lanes the smallest goes first.
        let mut order = Order::new(jobs(&[0; 3]), 0);
        assert_eq!(all(&mut order, |_| May::Now), [(2, false), (1, false), (0, false)]);
    }

    #[test]
    fn big_ones_spread_over_destinations() {
        let mut order = Order::new(jobs(&[0, 0, 1, 2]), 3);
        assert_eq!(order.pick(|to| usize::from(to == 0), |_| May::Now).map(|pick| pick.at), Some(2));
        assert_eq!(order.pick(|to| usize::from(to < 2), |_| May::Now).map(|pick| pick.at), Some(3));
    }

    #[test]
    fn what_may_not_start_keeps_its_place() {
        let mut order = Order::new(jobs(&[0, 1, 0, 1]), 1);
        assert_eq!(order.left(), 100 + 99 + 98 + 97);
        // Nothing goes to 0: the largest for 1.
        let there = |at: usize| if at.is_multiple_of(2) { May::NotThere } else { May::Now };
        assert_eq!(order.pick(|_| 0, there), Some(Pick { at: 1, big: true }));
        // The largest is kept back: the next of its kind, until it is woken.
        let this = |at: usize| if at == 0 { May::NotThis } else { May::Now };
        assert_eq!(order.pick(|_| 0, this), Some(Pick { at: 1, big: true }));
        assert_eq!(order.pick(|_| 0, |_| May::Now), Some(Pick { at: 1, big: true }));
        assert_eq!((order.waiting(), order.left()), (4, 394));
        order.wake();
        assert_eq!(order.pick(|_| 0, |_| May::Now), Some(Pick { at: 0, big: true }));
        // Large ones do not fit anywhere: small ones go on.
        assert_eq!(
            order.pick(|_| 0, |at| if at < 2 { May::NotThere } else { May::Now }),
            Some(Pick { at: 3, big: false })
        );
        // What is tried again goes where it was.
        assert_eq!(all(&mut order, |_| May::Now).len(), 4);
        order.end(0);
        order.back(1);
        assert_eq!((order.waiting(), order.left()), (1, 99));
        assert!(order.remove(1) && !order.remove(1) && order.waiting() == 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever may start when: nothing starts that may not, nothing twice, and in the end everything did; big ones
        /// never are more than their lanes, and from each end they come in order.
        #[test]
        fn nothing_starts_that_may_not_and_nothing_is_forgotten(
            to in prop::collection::vec(0u32..4, 1..60),
            lanes in 0usize..5,
            rounds in prop::collection::vec((0u32..5, prop::collection::btree_set(0usize..60, 0..20), 0usize..60), 1..40),
        ) {
            let mut order = Order::new(jobs(&to), lanes);
            let (mut begun, mut big) = (BTreeSet::new(), BTreeSet::new());
            for (shut, aside, ends) in rounds {
                order.wake();
                let may = |at: usize| match () {
                    () if to[at] == shut => May::NotThere,
                    () if aside.contains(&at) => May::NotThis,
                    () => May::Now,
                };
                let open = |begun: &BTreeSet<usize>| {
                    let free = |at: &usize| !begun.contains(at) && may(*at) == May::Now;
                    (0..to.len()).filter(free).collect::<Vec<usize>>()
                };
                let waiting = open(&begun);
                let pick = order.pick(|_| 0, may);
                prop_assert_eq!(pick.is_some(), !waiting.is_empty());
                if let Some(pick) = pick {
                    prop_assert_eq!(may(pick.at), May::Now);
                    let end = if pick.big { waiting.first() } else { waiting.last() };
                    prop_assert_eq!(Some(&pick.at), end);
                    prop_assert_eq!(pick.big, big.len() < lanes);
                    order.begin(pick);
                    prop_assert!(begun.insert(pick.at));
                    if pick.big {
                        big.insert(pick.at);
                    }
                }
                prop_assert_eq!(order.end(ends), big.remove(&ends));
                prop_assert_eq!(order.waiting(), to.len() - begun.len());
            }
            order.wake();
            prop_assert_eq!(all(&mut order, |_| May::Now).len(), to.len() - begun.len());
            prop_assert_eq!((order.waiting(), order.left()), (0, 0));
        }
    }
}
