//! Moves that wait for their hour: held back while their window is closed or the day's freeze is spent, taken up again when
//! the clock says so, left to a later run when that is too long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::eligible::{Calendar, Eligible, Why};
use super::{Engine, Message};
use crate::apply::event::{Event, Spent};
use crate::apply::learned::Learned;
use crate::apply::port::Ports;
use crate::model::Container;
use crate::plan::freeze::group_of;
use crate::plan::{ActionId, Change, Plan, PlannedMove};
use crate::state::frozen;

/// The clock is looked at again after at most so long: a machine that slept must not sleep on through a window.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// Groups that the summary names with what they spent.
const GROUPS: usize = 5;

/// Returns when the fleet's clock shows a time.
pub(super) async fn reached(ports: &Ports, at: Timestamp) {
    loop {
        let left = at.duration_since(ports.clock.now());
        if !left.is_positive() {
            return;
        }
        ports.clock.sleep(left.unsigned_abs().min(LOOK_AGAIN)).await;
    }
}

/// What waits, of all waves.
#[derive(Debug)]
pub(super) struct Hours {
    pub(super) calendar: Calendar,
    /// Moves of each wave by when they may begin and their index, and what each waits for.
    parked: BTreeMap<ActionId, BTreeMap<(Timestamp, usize), Why>>,
    /// Those that wait for their group's day, until when.
    spent: BTreeMap<Arc<str>, BTreeMap<(ActionId, usize), Timestamp>>,
    /// Waves whose window is closed.
    held: BTreeMap<ActionId, (Timestamp, Why)>,
    /// What was told of a wave, so that it is told once.
    told: BTreeMap<ActionId, Timestamp>,
    /// When the clock rings next.
    rings: Option<Timestamp>,
}

impl Hours {
    pub(super) fn new(plan: &Plan, learned: Arc<Learned>) -> Self {
        Self {
            calendar: Calendar::new(plan, learned),
            parked: BTreeMap::new(),
            spent: BTreeMap::new(),
            held: BTreeMap::new(),
            told: BTreeMap::new(),
            rings: None,
        }
    }

    /// Whether a move may begin now; what must wait is noted until its hour.
    pub(super) fn ask(&mut self, plan: &Plan, id: ActionId, at: usize, now: Timestamp) -> Eligible {
        let Some(planned) = plan.moves.get(at) else { return Eligible::Yes };
        let answer = self.calendar.eligible(planned, window(plan, id), now);
        if let Eligible::NotYet { until, why } = &answer {
            if let Why::Spent(group) = why {
                self.spent.entry(Arc::clone(group)).or_default().insert((id, at), *until);
            }
            self.parked.entry(id).or_default().insert((*until, at), why.clone());
        }
        answer
    }

    /// Until when a move may be asked for that begins now; `None`: at any time.
    pub(super) fn latest(&self, plan: &Plan, id: ActionId, planned: &PlannedMove) -> Option<Timestamp> {
        self.calendar.latest(planned, window(plan, id))
    }

    /// A move whose next attempt is due only then.
    pub(super) fn retry(&mut self, id: ActionId, at: usize, due: Timestamp) {
        self.parked.entry(id).or_default().insert((due, at), Why::Retry);
    }

    /// Takes out the moves whose hour has come: of each wave the last in the plan first, so that each can be put before
    /// what was put back before it.
    fn due(&mut self, now: Timestamp) -> Vec<(ActionId, usize)> {
        let mut due = Vec::new();
        for (id, moves) in &mut self.parked {
            let later = moves.split_off(&(now, usize::MAX));
            for ((_, at), why) in std::mem::replace(moves, later) {
                if let Why::Spent(group) = &why
                    && let Some(waiting) = self.spent.get_mut(group)
                {
                    waiting.remove(&(*id, at));
                }
                due.push((*id, at));
            }
        }
        due.sort_unstable_by(|a, b| b.cmp(a));
        due
    }

    /// Why nothing of these waves may begin, where that is the clock.
    pub(super) fn all_wait<'w>(&self, waves: impl Iterator<Item = &'w ActionId>) -> Option<String> {
        let reasons: Option<BTreeSet<String>> =
            waves.map(|id| self.held.get(id).map(|(_, why)| why.to_string())).collect();
        reasons.filter(|all| !all.is_empty()).map(|all| all.into_iter().collect::<Vec<_>>().join("; "))
    }

    /// When anything of a wave may begin again, and why not before.
    fn next(&self, id: ActionId) -> Option<(Timestamp, &Why)> {
        let first = self.parked.get(&id).and_then(BTreeMap::first_key_value);
        let parked = first.map(|((until, _), why)| (*until, why));
        let held = self.held.get(&id).map(|(until, why)| (*until, why));
        match (parked, held) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// The window of an action's moves.
fn window(plan: &Plan, id: ActionId) -> Option<&str> {
    match &plan.actions.get(id.0 as usize)?.change {
        Change::Moves { window, .. } => window.as_deref(),
        _ => None,
    }
}

impl Engine<'_> {
    /// Reads what earlier runs of this day have spent of the budget.
    pub(super) fn carry_over(&mut self) {
        if !self.hours.calendar.counts_days() {
            return;
        }
        let now = self.ports().clock.now();
        let day = self.hours.calendar.day_of(now);
        match frozen::spent(&self.runs, day, group_of) {
            Ok(spent) => self.hours.calendar.carry(now, spent),
            Err(error) => {
                self.hours.calendar.carry(now, BTreeMap::new());
                let message = format!(
                    "what earlier runs of this day have spent of the freeze budget cannot be read: {error}; it counts as nothing"
                );
                self.tell(Event::Warning { message });
            }
        }
    }

    /// Takes up again the moves whose hour has come.
    pub(super) fn unpark(&mut self, now: Timestamp) {
        self.hours.held.retain(|_, (until, _)| *until > now);
        for (id, at) in self.hours.due(now) {
            if let (Some(wave), Some(planned)) = (self.waves.get_mut(&id), self.plan.moves.get(at)) {
                wave.unpark(&planned.destination, at);
            }
        }
        let waves = &self.waves;
        self.hours.parked.retain(|id, moves| !moves.is_empty() && waves.contains_key(id));
        self.hours.spent.retain(|_, moves| !moves.is_empty());
        self.hours.told.retain(|_, until| *until > now);
    }

    /// True when nothing of a wave may begin, because its window is closed.
    pub(super) fn is_held(&mut self, id: ActionId, now: Timestamp) -> bool {
        match self.hours.calendar.closed(window(self.plan, id), now) {
            None => false,
            Some(wait) => {
                self.hours.held.insert(id, wait);
                true
            }
        }
    }

    /// Accounts the freeze of an attempt that has ended, and returns it in milliseconds; `None`: GitLab had taken nothing.
    /// Where less was needed than had been kept for it, another of its group may begin now.
    pub(super) fn account(&mut self, at: usize, now: Timestamp) -> Option<u64> {
        let plan = self.plan;
        let planned = plan.moves.get(at)?;
        let frozen = self.mover.thawed().remove(&planned.container);
        let ms = frozen.unwrap_or(0);
        if frozen.is_some() {
            self.bear(planned.container, &planned.path, ms);
        }
        let Some(group) = self.hours.calendar.end(at, ms, now) else { return frozen };
        let left = self.hours.calendar.left_ms(&group);
        let Hours { calendar, parked, spent, .. } = &mut self.hours;
        if let Some(waiting) = spent.get_mut(&group) {
            let fits = |at: usize| plan.moves.get(at).is_some_and(|one| calendar.p95_ms(one) <= left);
            let first = waiting.iter().find(|((_, at), _)| fits(*at)).map(|(key, until)| (*key, *until));
            if let Some(((id, at), until)) = first {
                waiting.remove(&(id, at));
                let was_parked = parked.get_mut(&id).is_some_and(|moves| moves.remove(&(until, at)).is_some());
                if let (true, Some(wave), Some(one)) = (was_parked, self.waves.get_mut(&id), plan.moves.get(at)) {
                    wave.unpark(&one.destination, at);
                }
            }
        }
        frozen
    }

    /// Adds one freeze to the run's.
    pub(super) fn bear(&mut self, container: Container, path: &str, ms: u64) {
        let time = &mut self.summary.time;
        time.frozen_ms = time.frozen_ms.saturating_add(ms);
        if ms > time.longest_ms || time.longest.is_empty() {
            time.longest_ms = ms;
            time.longest = format!("{container} {path}");
        }
    }

    /// Says what waits and until when; sets the clock, or leaves what would wait for too long.
    pub(super) fn wait_for_hours(&mut self, now: Timestamp) {
        let ids: Vec<ActionId> = self.waves.keys().copied().collect();
        let mut first: Option<Timestamp> = None;
        for id in ids {
            let Some((until, why)) = self.hours.next(id).map(|(until, why)| (until, why.clone())) else { continue };
            let until_text = self.hours.calendar.spell(until, &why);
            let parked = self.hours.parked.get(&id).map_or(0, BTreeMap::len);
            let held = self.hours.held.contains_key(&id);
            let Some(wave) = self.waves.get_mut(&id) else { continue };
            let count = if held { wave.unbegun() } else { parked };
            if count == 0 {
                continue;
            }
            let rests = if held { wave.in_flight == 0 } else { wave.rests(parked) };
            let wait = until.duration_since(now).unsigned_abs();
            if rests && self.max_wait.is_some_and(|most| wait > most) {
                let moves = if count == 1 { "move waits" } else { "moves wait" };
                wave.pause(&format!("{why}; {count} {moves}: come back at {until_text}"));
                continue;
            }
            first = Some(first.map_or(until, |first| first.min(until)));
            if self.hours.told.get(&id) != Some(&until)
                && let Some(action) = self.plan.actions.get(id.0 as usize)
            {
                self.hours.told.insert(id, until);
                let moves = if count == 1 { "move waits" } else { "moves wait" };
                let what = format!("{}: {why}; {count} {moves} until {until_text}", action.address);
                self.tell(Event::Waiting { what });
            }
        }
        if let Some(at) = first {
            self.ring_at(at);
        }
    }

    /// Wakes the loop at a time by the fleet's clock.
    fn ring_at(&mut self, at: Timestamp) {
        if self.hours.rings.is_some_and(|rings| rings <= at) {
            return;
        }
        self.hours.rings = Some(at);
        let (ports, sender, stop) = (self.ports().clone(), self.sender.clone(), self.stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = reached(&ports, at) => drop(sender.send(Message::Hour(at))),
                () = stop.cancelled() => {}
                () = sender.closed() => {}
            }
        });
    }

    /// The clock has rung.
    pub(super) fn rung(&mut self, at: Timestamp) {
        if self.hours.rings == Some(at) {
            self.hours.rings = None;
        }
    }

    /// Puts into the summary what groups have spent of their day, and how good predictions were.
    pub(super) fn account_for_time(&mut self) {
        let now = self.ports().clock.now();
        let time = &mut self.summary.time;
        if let Some(per_day) = self.plan.freeze.per_day {
            let spent = self.hours.calendar.spent().into_iter().take(GROUPS);
            let of = |(group, spent_ms)| Spent { group, spent_ms, budget_ms: per_day.saturating_mul(1000) };
            time.spent = spent.map(of).collect();
        }
        (time.predicted, time.held) = (self.eta.predicted, self.eta.held);
        if !self.stopping && self.fatal.is_none() && self.summary.paused == 0 {
            let end = self.eta.last().unwrap_or(now);
            (time.ends_predicted, time.ends_held) = self.eta.kept(end);
        }
    }

    /// A move will not be tried again in this run: what is left is less by it.
    pub(super) fn settled(&mut self, at: usize) {
        let expected = self.expected_ms(at);
        self.eta.settle(expected);
    }

    /// Milliseconds that a move is predicted to take.
    pub(super) fn expected_ms(&self, at: usize) -> u64 {
        let plan = self.plan;
        plan.moves.get(at).map_or(0, |one| plan.durations.of(&one.source, &one.destination).expected_ms(one.copied()))
    }

    /// A move was verified: its prediction is held against what it took, the end is predicted anew, and so is what such
    /// moves take.
    pub(super) fn measured(&mut self, at: usize, interval: (u64, u64), ms: u64) {
        if let Some(one) = self.plan.moves.get(at) {
            let expected = self.expected_ms(at);
            self.eta.took(expected, interval, ms);
            self.mover.rules.learned.took(&one.source, &one.destination, one.copied(), ms);
        }
    }
}
