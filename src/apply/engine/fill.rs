//! Which move starts next, and where room is looked after. The source with most left is served first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::eligible::Eligible;
use super::{Engine, Message, guarded, lock};
use crate::apply::event::Event;
use crate::apply::mover::{Ended, Task};
use crate::apply::order::Next;
use crate::apply::pools::Token;
use crate::apply::port::{PortError, PortErrorKind};
use crate::apply::room::Binding;
use crate::apply::wave::{Wave, patiently};
use crate::model::{Bytes, StorageName};
use crate::plan::order::May;
use crate::plan::room::RoomLevel;
use crate::plan::{ActionId, need};

/// A disk that something else has filled above its ceiling is measured again so often, and waited for so long: a cleanup or
/// a rotated backup takes minutes; what takes longer is a person's matter, and a later apply's.
const MEASURED_AGAIN: Duration = Duration::from_secs(60);
const FILLED_FOR: Duration = Duration::from_secs(30 * 60);

impl Engine<'_> {
    /// Starts moves while slots, tokens and room allow.
    pub(super) fn fill(&mut self) {
        if !self.waves.is_empty() {
            self.ask_version();
        }
        // What is looked into is bounded as what moves is.
        let checked = self.looked_into.len();
        let checks = (checked >= self.plan.max_moves as usize)
            .then(|| format!("the destinations of {checked} moves are being checked"));
        let (outside, veto) = (self.outside(), self.pace.veto().or(checks));
        // Workers that restart leave dead ends behind; without workers, what is scheduled only waits read-only.
        let sick = self.watch.holds() || !lock(&self.mover.short).is_empty();
        let held = !self.waves.is_empty() && (sick || veto.is_some());
        self.mover.held.store(held, Ordering::Relaxed);
        if sick {
            return;
        }
        let (mut bindings, mut full, mut away) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let now = self.ports().clock.now();
        self.unpark(now);
        let mut open: BTreeSet<ActionId> = self.waves.keys().copied().collect();
        // Destinations that were found too full for some move, and looked after, in this call.
        let mut seen: BTreeSet<StorageName> = BTreeSet::new();
        loop {
            let most = |id: &&ActionId| (self.waves.get(*id).map(Wave::left), Reverse(**id));
            let Some(id) = open.iter().max_by_key(most).copied() else { break };
            let out_of_hours = self.is_held(id, now);
            let Some(wave) = self.waves.get_mut(&id) else { break };
            if let Some(cause) = lock(&self.mover.closed).get(&wave.source) {
                wave.close(cause.clone());
            }
            if out_of_hours || veto.is_some() {
                open.remove(&id);
                continue;
            }
            let source = wave.source.clone();
            let (slots, room, pools, measuring) = (&self.slots, &self.room, &self.pools, &self.measuring);
            let (silent, filled) = (&self.away, &self.filled);
            let (hours, plan) = (&mut self.hours, self.plan);
            // Sets: the last of a queue is asked about from both its ends.
            let (mut short, mut doubtful, mut parked) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            let mut never = BTreeMap::new();
            let may = |destination: &StorageName, at: usize| {
                let Some(planned) = plan.moves.get(at) else { return May::NotThis };
                let binding = slots.binding(&source, destination, outside);
                if binding.is_some() || measuring.contains(destination) {
                    bindings.extend(binding);
                    away.extend(silent.get(destination).cloned());
                    full.extend(filled.get_key_value(destination).map(|(name, _)| name.clone()));
                    return May::NotThere;
                }
                match pools.token(planned) {
                    Token::Free => {}
                    Token::Held => return May::NotThis,
                    Token::InDoubt => {
                        doubtful.insert(at);
                        return May::NotThis;
                    }
                }
                match hours.ask(plan, id, at, now) {
                    Eligible::Yes => {}
                    Eligible::NotYet { .. } => {
                        parked.insert(at);
                        return May::NotThis;
                    }
                    Eligible::Never { why } => {
                        never.insert(at, why);
                        return May::NotThis;
                    }
                }
                if room.fits(destination, planned.copied()) {
                    return May::Now;
                }
                short.insert((destination.clone(), at));
                May::NotThere
            };
            let next = wave.next(|to| self.crowds.get(to).copied().unwrap_or(0), may);
            for at in parked {
                if let Some(planned) = plan.moves.get(at) {
                    wave.park(&planned.destination, at);
                }
            }
            never.keys().for_each(|at| wave.give_up(*at));
            let mut again = next.is_some();
            if let Some(next) = next {
                self.launch(id, &source, &next);
            }
            for (at, why) in never {
                self.settled(at);
                self.skipped(at, why, false);
            }
            for at in doubtful {
                self.drop_doubtful(id, at);
            }
            for (destination, at) in short {
                if self.towards.get(&destination).is_some_and(|t| t.1 > 0) && !seen.insert(destination.clone()) {
                    full.insert(destination);
                    continue;
                }
                let dropped = self.no_room(id, at, &destination);
                again |= dropped;
                if !dropped {
                    full.insert(destination);
                }
            }
            if !again {
                open.remove(&id);
            }
        }
        self.wait_for_hours(now);
        self.mover.poller.kept(bindings.contains(&Binding::Workers) || bindings.contains(&Binding::Foreign));
        let veto = veto.or_else(|| self.hours.all_wait(self.waves.keys()));
        self.tell_held(veto, bindings, full, away);
    }

    fn launch(&mut self, id: ActionId, source: &StorageName, next: &Next) {
        let (at, destination) = (next.at, &next.destination);
        let (Some(wave), Some(planned)) = (self.waves.get_mut(&id), self.plan.moves.get(at)) else { return };
        let until = self.hours.latest(self.plan, id, planned);
        let task = Task { until, ..wave.begin(next, planned.clone()) };
        if let Some(closing) = wave.closing(self.plan) {
            self.mover.journal.note(vec![closing]);
        }
        let now = self.mover.ports.clock.now();
        self.hours.calendar.begin(at, planned, now);
        self.eta.begin(now);
        self.launched.insert(at);
        self.keep_pace(false);
        let fit = self.mover.rules.learned.of(source, destination);
        self.predicted.insert(at, fit.interval_ms(planned.copied()));
        self.slots.take(source, destination);
        self.pools.begin(planned);
        *self.crowds.entry(destination.clone()).or_default() += usize::from(next.big);
        self.room.reserve(destination, planned.copied());
        self.fresh.remove(destination);
        let towards = self.towards.entry(destination.clone()).or_default();
        *towards = (towards.0 + need(planned.copied()).0, towards.1 + 1);
        let (mover, sender) = (self.mover.clone(), self.sender.clone());
        let work = async move { mover.attempt(task).await };
        guarded(
            work,
            |cause| Ended::InDoubt { cause },
            move |ended| {
                let _ = sender.send(Message::Moved(id, at, ended));
            },
        );
    }

    /// Leaves alone what an earlier run moved, nobody knows how far: two live moves of one repository must never be.
    pub(super) fn leave_doubted(&mut self, id: ActionId, first: usize) {
        let plan = self.plan;
        let Some(action) = self.action(id).filter(|_| !self.doubted.is_empty()) else { return };
        for (at, planned) in (first..).zip(plan.moves_of(action)) {
            if !self.doubted.contains(&planned.container) {
                continue;
            }
            if let Some(wave) = self.waves.get_mut(&id) {
                wave.give_up(at);
            }
            self.pools.begin(planned);
            self.pools.doubt(planned);
            self.settled(at);
            self.summary.in_doubt += 1;
            let why = "how the move ended that an earlier run began is not known yet; the next apply asks again";
            self.skipped(at, why.to_owned(), false);
        }
    }

    /// The last of a fork network waits for one whose end is not known: the next apply takes both up.
    fn drop_doubtful(&mut self, id: ActionId, at: usize) {
        let (Some(wave), Some(planned)) = (self.waves.get_mut(&id), self.plan.moves.get(at)) else { return };
        wave.give_up(at);
        self.settled(at);
        let why = format!(
            "it is the last of its fork network on {}, and how another one's move ended is not known yet",
            planned.source
        );
        self.skipped(at, why, false);
    }

    /// A move does not fit. Measures the disk anew, or, when that was just done and nothing is in flight, gives it up.
    /// True: it was given up, and the next may be tried.
    fn no_room(&mut self, id: ActionId, at: usize, destination: &StorageName) -> bool {
        if self.fresh.contains(destination) && self.room.free(destination) == 0 && self.is_filled_lately(destination) {
            self.measuring.insert(destination.clone());
            self.fresh.remove(destination);
            self.measure_in(destination, MEASURED_AGAIN);
            return false;
        }
        let idle = self.towards.get(destination).is_none_or(|t| t.1 == 0);
        let why = match (self.fresh.contains(destination), self.unmeasured.get(destination)) {
            (true, _) => Some(format!("{destination} has {} below its ceiling", Bytes(self.room.free(destination)))),
            (false, Some(cause)) if idle => Some(format!("how much {destination} has is unknown: {cause}")),
            _ => None,
        };
        if let Some(why) = why {
            let (Some(wave), Some(planned)) = (self.waves.get_mut(&id), self.plan.moves.get(at)) else { return false };
            wave.give_up(at);
            self.settled(at);
            self.skipped(at, format!("no room: it needs {}, {why}", need(planned.copied())), false);
            return true;
        }
        if idle && self.measuring.insert(destination.clone()) {
            self.tell(Event::Waiting { what: format!("{destination}: measuring its disk before more is sent there") });
            self.measure(destination);
        } else if !idle && self.full.insert(destination.clone()) {
            let free = Bytes(self.room.free(destination));
            let what = format!("{destination} has {free} below its ceiling: what needs more waits for moves in flight");
            self.tell(Event::Waiting { what });
        }
        false
    }

    /// True while a disk that something else has filled above its ceiling is waited for.
    fn is_filled_lately(&mut self, destination: &StorageName) -> bool {
        let now = self.ports().clock.now();
        let since = *self.filled.entry(destination.clone()).or_insert(now);
        now.duration_since(since).unsigned_abs() < FILLED_FOR
    }

    /// Asks how full a disk is.
    pub(super) fn measure(&mut self, destination: &StorageName) {
        self.measure_in(destination, Duration::ZERO);
    }

    /// The same, after a while.
    fn measure_in(&mut self, destination: &StorageName, after: Duration) {
        let (ports, sender, name) = (self.ports().clone(), self.sender.clone(), destination.clone());
        // Counted as running, so that the loop waits for its answer.
        self.running += 1;
        self.room.asked(destination);
        self.measured_at.insert(destination.clone(), ports.clock.now());
        let asked = name.clone();
        let fault = |cause| Err(PortError::new(PortErrorKind::Protocol, "DiskStatistics", cause));
        let stop = self.stop.clone();
        let work = async move {
            if !after.is_zero() {
                tokio::select! {
                    () = ports.clock.sleep(after) => {}
                    () = stop.cancelled() => {}
                }
            }
            patiently(&ports, &stop, |_| {}, || ports.gitaly.disk(&asked)).await
        };
        guarded(work, fault, move |measured| {
            let _ = sender.send(Message::Measured(name, measured));
        });
    }

    /// Stops the waves towards a disk that is far above its ceiling: something else fills it.
    pub(super) fn alarm(&mut self, storage: &StorageName) {
        if self.room.level(storage) != RoomLevel::Panic {
            return;
        }
        let ceiling = self.plan.storages.get(storage).map_or(850, |s| s.disk_ceiling_permille);
        let cause = format!(
            "the disk of {storage} is far above its ceiling of {} %: something else fills it",
            f64::from(ceiling) / 10.0
        );
        let mut stopped = false;
        for wave in self.waves.values_mut().filter(|wave| wave.goes_to(storage)) {
            stopped |= !wave.is_closed();
            wave.close(cause.clone());
        }
        if stopped {
            self.tell(Event::Warning { message: format!("{cause}; the waves towards it stop") });
        }
    }
}
