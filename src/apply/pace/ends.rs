//! The controllers of one run, what was measured for them, and its vetoes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::controller::{Controller, Interval, Signal, Turn};
use super::profile::Tuning;
use super::veto::Answer;
use super::window::{MoveEnd, Window};
use super::{End, Role};
use crate::model::{Bytes, StorageName};
use crate::plan::durations::Fit;
use crate::plan::{ConcurrencyPlan, Plan, Verdict};

/// A repository that is read-only for longer than this, and ten times its prediction, is a matter of safety: whatever
/// keeps it must not be given more.
const FROZEN: u64 = 10 * 60 * 1000;
const FROZEN_TIMES: u64 = 10;

/// All ends of one run.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Option<u64>,
    controllers: BTreeMap<End, Controller>,
    windows: BTreeMap<End, Window>,
    /// Since the last decision.
    since: Option<Timestamp>,
    /// By name; `None`: not answered yet.
    vetoes: BTreeMap<String, Option<Answer>>,
}

impl Pace {
    pub(crate) fn new(plan: &Plan) -> Self {
        let most = |storage: &StorageName| {
            plan.storages.get(storage).map_or(plan.max_moves, |s| s.max_moves).min(plan.max_moves)
        };
        let mut ends: BTreeMap<End, u32> = BTreeMap::new();
        let mut last = None;
        for planned in &plan.moves {
            let pair = (&planned.source, &planned.destination);
            if last != Some(pair) {
                let both = [(pair.0, Role::Source), (pair.1, Role::Destination)];
                ends.extend(both.map(|(storage, role)| (End { storage: storage.clone(), role }, most(storage))));
                last = Some(pair);
            }
        }
        Self::of(&plan.concurrency, &ends)
    }

    /// For ends, each with the moves that it may have at most.
    fn of(concurrency: &ConcurrencyPlan, ends: &BTreeMap<End, u32>) -> Self {
        let tuning = Tuning::of(concurrency);
        let controllers = ends.iter().map(|(end, most)| (end.clone(), Controller::new(*most, tuning)));
        Self {
            interval: (!ends.is_empty()).then(|| Tuning::interval_of(concurrency)),
            controllers: controllers.collect(),
            windows: BTreeMap::new(),
            since: None,
            vetoes: concurrency.vetoes.iter().map(|veto| (veto.name.clone(), None)).collect(),
        }
    }

    /// Between two rounds of questions; `None`: nothing is asked.
    pub(crate) fn interval(&self) -> Option<Duration> {
        self.interval.map(Duration::from_secs)
    }

    /// The storages whose health is asked for.
    pub(crate) fn storages(&self) -> BTreeSet<StorageName> {
        self.controllers.keys().map(|end| end.storage.clone()).collect()
    }

    /// True when slots are found, not fixed.
    pub(crate) fn adapts(&self) -> bool {
        self.controllers.values().any(Controller::adapts)
    }

    /// Moves that each end may have now.
    pub(crate) fn limits(&self) -> impl Iterator<Item = (&End, u32)> {
        self.controllers.iter().map(|(end, controller)| (end, controller.limit()))
    }

    /// Moves that an end may have now.
    pub(crate) fn limit(&self, end: &End) -> u32 {
        self.controllers.get(end).map_or(u32::MAX, Controller::limit)
    }

    /// Why an end has the slots that it has.
    pub(crate) fn why(&self, end: &End) -> &str {
        self.controllers.get(end).map_or("", Controller::why)
    }

    /// The veto that holds now, with its reason.
    pub(crate) fn veto(&self) -> Option<String> {
        let mut waits = None;
        for (name, answer) in &self.vetoes {
            match answer {
                Some(held @ Answer::Held(_)) => return held.holds(name),
                Some(answer) => waits = answer.holds(name).or(waits),
                None if waits.is_none() => waits = Some(format!("veto {name} has not been answered yet")),
                None => {}
            }
        }
        waits
    }

    /// Vetoes hold until they are answered anew.
    pub(crate) fn forget_vetoes(&mut self) {
        self.vetoes.values_mut().for_each(|answer| *answer = None);
    }

    /// Takes answers to vetoes.
    pub(crate) fn answered(&mut self, answers: BTreeMap<String, Answer>) {
        for (name, answer) in answers {
            if let Some(veto) = self.vetoes.get_mut(&name) {
                *veto = Some(answer);
            }
        }
    }

    /// Notes something with both ends of a move; nothing where slots are fixed.
    fn note(&mut self, source: &StorageName, destination: &StorageName, f: impl Fn(&mut Window)) {
        if self.adapts() {
            for (storage, role) in [(source, Role::Source), (destination, Role::Destination)] {
                f(self.windows.entry(End { storage: storage.clone(), role }).or_default());
            }
        }
    }

    /// A move ended well.
    pub(crate) fn moved(
        &mut self,
        fit: &Fit,
        source: &StorageName,
        destination: &StorageName,
        bytes: Bytes,
        frozen_ms: u64,
    ) {
        let end = MoveEnd { bytes: bytes.0, frozen_ms, predicted_ms: fit.expected_ms(bytes), fixed_ms: fit.fixed_ms };
        self.note(source, destination, |window| window.moved(end));
    }

    /// An attempt failed, or nobody answered.
    pub(crate) fn failed(&mut self, source: &StorageName, destination: &StorageName) {
        self.note(source, destination, Window::failed);
    }

    /// A worker took a move, so long after its POST.
    pub(crate) fn taken(&mut self, source: &StorageName, destination: &StorageName, millis: u64) {
        self.note(source, destination, |window| window.taken(millis));
    }

    /// A move was kept waiting by this end.
    pub(crate) fn full(&mut self, end: End) {
        if self.adapts() {
            self.windows.entry(end).or_default().full = true;
        }
    }

    /// What a repository that has been read-only for so long says of its ends; `None`: nothing.
    pub(crate) fn frozen(fit: &Fit, path: &str, bytes: Bytes, ms: u64) -> Option<Signal> {
        let predicted = fit.expected_ms(bytes);
        let long = ms > FROZEN && ms > predicted.saturating_mul(FROZEN_TIMES);
        let why = || {
            let minutes = FROZEN / 60_000;
            format!("{path} has been read-only for more than {minutes} min, predicted {} s", predicted / 1000)
        };
        long.then(|| Signal::safety(Verdict::Fail, why()))
    }

    /// Decides for every end. `signals`: of its storage; `ends`: of it alone.
    pub(crate) fn decide(
        &mut self,
        at: Timestamp,
        signals: &BTreeMap<StorageName, Vec<Signal>>,
        ends: &BTreeMap<End, Vec<Signal>>,
    ) -> Vec<(End, Turn)> {
        let millis = self.since.replace(at).map_or(0, |since| at.duration_since(since).as_millis());
        let millis = u64::try_from(millis).unwrap_or(0);
        let mut turns = Vec::new();
        for (end, controller) in &mut self.controllers {
            let window = self.windows.remove(end).unwrap_or_default();
            let mut all: Vec<Signal> = ends.get(end).into_iter().flatten().cloned().collect();
            if controller.adapts() {
                all.extend(signals.get(&end.storage).into_iter().flatten().cloned());
                all.extend(window.signals());
            }
            let interval = Interval {
                at,
                signals: &all,
                moved: window.throughput(millis),
                by_bytes: window.by_bytes(),
                full: window.full,
            };
            turns.extend(controller.decide(&interval).map(|turn| (end.clone(), turn)));
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Profile;

    /// `a` is both source and destination, `b` a destination.
    fn pace(profile: Profile) -> Pace {
        let end = |name: &str, role| End { storage: StorageName::new(name).expect("valid"), role };
        let ends = [end("a", Role::Source), end("a", Role::Destination), end("b", Role::Destination)];
        let concurrency = ConcurrencyPlan { profile, ..ConcurrencyPlan::default() };
        Pace::of(&concurrency, &ends.into_iter().map(|end| (end, 8)).collect())
    }

    fn signals(what: u8) -> Vec<Signal> {
        match what {
            0 => vec![Signal::safety(Verdict::Fail, "stop")],
            1 => vec![Signal::new(Verdict::Fail, "slow")],
            2 => vec![Signal::new(Verdict::Unknown, "no data")],
            _ => vec![Signal::new(Verdict::Pass, "well")],
        }
    }

    proptest! {
        #[test]
        fn a_safety_signal_stops_all_ends_of_its_storage_and_those_alone_and_fixed_slots_know_no_other(
            story in proptest::collection::vec((0u8..6, 0u8..6, 0u8..6, any::<bool>()), 1..60),
        ) {
            let (mut fixed, mut found) = (pace(Profile::Fixed), pace(Profile::Balanced));
            let all: Vec<End> = found.limits().map(|(end, _)| end.clone()).collect();
            // Within the deadline of what is unknown, which shuts an end by itself.
            for (second, (a, b, into_a, full)) in (0i64..).zip(story) {
                let at = Timestamp::from_second(second).expect("a time");
                let name = |text: &str| StorageName::new(text).expect("valid");
                let of = BTreeMap::from([(name("a"), signals(a)), (name("b"), signals(b))]);
                let alone = BTreeMap::from([(End { storage: name("a"), role: Role::Destination }, signals(into_a))]);
                let before: BTreeMap<End, u32> = found.limits().map(|(end, limit)| (end.clone(), limit)).collect();
                if full {
                    all.iter().for_each(|end| found.full(end.clone()));
                    all.iter().for_each(|end| fixed.full(end.clone()));
                }
                fixed.decide(at, &of, &alone);
                for (end, limit) in fixed.limits() {
                    let stops = end.storage == name("a") && end.role == Role::Destination && into_a == 0;
                    prop_assert_eq!(limit, if stops { 0 } else { 8 }, "{}: as declared, or none", end);
                }
                let turns = found.decide(at, &of, &alone);
                for (end, limit) in found.limits() {
                    let into = end.storage == name("a") && end.role == Role::Destination;
                    let word = if end.storage == name("a") { a } else { b };
                    let stops = word == 0 || (into && into_a == 0);
                    let doubts = word == 2 || (into && into_a == 2);
                    if stops {
                        prop_assert_eq!(limit, 0, "{}", end);
                    } else if before[end] > 0 {
                        prop_assert!(limit > 0, "{} was stopped by another's signal", end);
                    } else {
                        prop_assert!(limit > 0 || doubts, "{} goes on once it is answered", end);
                    }
                    let turned = turns.iter().find(|(of, _)| of == end).map(|(_, turn)| (turn.from, turn.to));
                    prop_assert_eq!(turned, (before[end] != limit).then_some((before[end], limit)));
                }
            }
        }
    }
}
