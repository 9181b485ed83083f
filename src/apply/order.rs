//! Which of a wave's moves goes next, with storages by name: the planner's order with what is known while it runs.
//!
//! What may not start now is asked for one by one and passed over: `May::NotThere` for a destination that takes nothing
//! (slots, room), `May::NotThis` for a single move (a token, a window, a budget), which is set aside until
//! [`Waiting::wake`]. All else keeps its place.

use crate::model::StorageName;
use crate::plan::order::{BANDWIDTH, Job, May, Order, Pick, big_lanes};
use crate::plan::{MoveOrder, Plan, PlannedMove};

/// A move that may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Next {
    /// Index into the plan's moves.
    pub(crate) at: usize,
    pub(crate) destination: StorageName,
    /// Taken from the large end.
    pub(crate) big: bool,
}

/// The moves of one wave off one source that have not begun.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Index of the first into the plan's moves.
    first: usize,
    order: Order,
    /// By number.
    destinations: Vec<StorageName>,
    /// Of each move, the number of its destination.
    to: Vec<u32>,
    slots: u64,
}

impl Waiting {
    /// All moves of an action, which begin at `first` in the plan.
    pub(crate) fn new(
        plan: &Plan,
        source: &StorageName,
        first: usize,
        moves: &[PlannedMove],
        order: MoveOrder,
    ) -> Self {
        let mut destinations: Vec<StorageName> = moves.iter().map(|one| one.destination.clone()).collect();
        destinations.sort_unstable();
        destinations.dedup();
        let fits: Vec<_> = destinations.iter().map(|to| plan.durations.of(source, to)).collect();
        let number = |to: &StorageName| destinations.binary_search(to).unwrap_or(0);
        let numbers: Vec<usize> = moves.iter().map(|one| number(&one.destination)).collect();
        let to: Vec<u32> = numbers.iter().map(|number| u32::try_from(*number).unwrap_or(u32::MAX)).collect();
        let work =
            |(one, number): (&PlannedMove, &usize)| fits.get(*number).map_or(0, |fit| fit.expected_ms(one.copied()));
        let jobs = moves.iter().zip(&numbers).zip(&to).map(|(pair, to)| Job { to: *to, work: work(pair) }).collect();
        let storage = plan.storages.get(source);
        let slots = storage.map_or(1, |storage| storage.max_moves.max(1));
        let rate = fits.iter().map(|fit| fit.rate).max().unwrap_or(1);
        let bandwidth = storage.and_then(|storage| storage.bandwidth).unwrap_or(BANDWIDTH);
        let lanes = match order {
            MoveOrder::TwoEnded => big_lanes(slots, bandwidth, rate),
            MoveOrder::SmallFirst => 0,
        };
        Self { first, order: Order::new(jobs, lanes), destinations, to, slots: u64::from(slots) }
    }

    /// Milliseconds of work that have not begun, for each slot of the source: the one with most is served first.
    pub(crate) fn left(&self) -> u64 {
        self.order.left() / self.slots
    }

    /// How many have not begun.
    pub(crate) fn len(&self) -> usize {
        self.order.waiting()
    }

    /// How many of those to some destinations have not begun.
    pub(crate) fn count(&self, counts: impl Fn(&StorageName) -> bool) -> usize {
        self.order.waiting_to(|number| self.destinations.get(number as usize).is_some_and(&counts))
    }

    /// True when something that has not begun goes there.
    pub(crate) fn goes_to(&self, storage: &StorageName) -> bool {
        self.destinations.binary_search(storage).is_ok()
    }

    /// The next move that may start. `crowd`: big moves in flight to a destination, off all sources.
    pub(crate) fn next(
        &mut self,
        crowd: impl Fn(&StorageName) -> usize,
        mut may: impl FnMut(&StorageName, usize) -> May,
    ) -> Option<Next> {
        let Self { first, order, destinations, to, .. } = self;
        let name = |number: u32| destinations.get(number as usize);
        let of = |at: usize| to.get(at).and_then(|number| name(*number));
        let Pick { at, big } = order.pick(
            |number| name(number).map_or(0, &crowd),
            |at| of(at).map_or(May::NotThere, |destination| may(destination, *first + at)),
        )?;
        Some(Next { at: *first + at, destination: of(at)?.clone(), big })
    }

    /// Takes a move out: it starts.
    pub(crate) fn begin(&mut self, next: &Next) {
        self.order.begin(Pick { at: next.at.saturating_sub(self.first), big: next.big });
    }

    /// A move that flew is over; true when it was a big one.
    pub(crate) fn end(&mut self, at: usize) -> bool {
        self.order.end(at.saturating_sub(self.first))
    }

    /// Takes a move out that will never start.
    pub(crate) fn give_up(&mut self, at: usize) {
        self.order.remove(at.saturating_sub(self.first));
    }

    /// Puts a move back in its place.
    pub(crate) fn back(&mut self, at: usize) {
        self.order.back(at.saturating_sub(self.first));
    }

    /// Asks anew for what was set aside.
    pub(crate) fn wake(&mut self) {
        self.order.wake();
    }
}
