//! One end's slots: additive increase, multiplicative decrease, three-valued.
//!
//! All signals good: one slot more. Any bad: half. Any unknown: none more, and after a deadline none at all until it is
//! answered. A safety signal that is bad: none at all, not fewer. A slot that did not add at least [`GAIN_PERMILLE`] to the
//! throughput is given back: past saturation more slots only freeze repositories for longer.

use jiff::Timestamp;

use super::profile::Tuning;
use crate::plan::Verdict;

/// What a slot must add, thousandths of the throughput before it.
pub(crate) const GAIN_PERMILLE: u64 = 30;
/// Moves that must have ended before a throughput says anything. At a tenth of it one giant would decide; at ten times it
/// a controller of slow moves would wait for hours to learn of one slot.
const SAMPLES: u64 = 10;
/// Decisions after which a slot that could not be judged stays.
const TRIAL: u32 = 5;
/// Decisions until a slot that was given back is tried again: loads change over a night.
const REST: u32 = 20;

/// One answer about an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signal {
    pub(crate) verdict: Verdict,
    /// What was seen and what was allowed, in a line with its name.
    pub(crate) why: String,
    /// Bad means stop.
    pub(crate) safety: bool,
}

impl Signal {
    pub(crate) fn new(verdict: Verdict, why: impl Into<String>) -> Self {
        Self { verdict, why: why.into(), safety: false }
    }

    pub(crate) fn safety(verdict: Verdict, why: impl Into<String>) -> Self {
        Self { safety: true, ..Self::new(verdict, why) }
    }
}

/// What was moved in a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Throughput {
    pub(crate) moves: u64,
    pub(crate) bytes: u64,
    pub(crate) millis: u64,
}

impl Throughput {
    fn add(&mut self, more: Self) {
        self.moves = self.moves.saturating_add(more.moves);
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.millis = self.millis.saturating_add(more.millis);
    }

    /// True when `self` is at least [`GAIN_PERMILLE`] above `before`, by bytes or by moves.
    fn gained(self, before: Self, by_bytes: bool) -> bool {
        let amount = |t: Self| u128::from(if by_bytes { t.bytes } else { t.moves });
        let left = amount(self) * u128::from(before.millis) * 1000;
        let right = amount(before) * u128::from(self.millis) * u128::from(1000 + GAIN_PERMILLE);
        left >= right
    }
}

/// What one decision rests on.
#[derive(Debug)]
pub(crate) struct Interval<'a> {
    pub(crate) at: Timestamp,
    pub(crate) signals: &'a [Signal],
    /// Since the last decision.
    pub(crate) moved: Throughput,
    /// The load is bound by bytes, not by the number of moves.
    pub(crate) by_bytes: bool,
    /// A move was kept waiting by this end's slots.
    pub(crate) full: bool,
}

/// A change that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) why: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Gate {
    Open,
    /// A safety signal, or signals that are unknown for too long.
    Shut(String),
}

/// One end's controller.
#[derive(Debug, Clone)]
pub(crate) struct Controller {
    tuning: Tuning,
    most: u32,
    slots: u32,
    gate: Gate,
    calm: u32,
    /// Measured with the present slots.
    measured: Throughput,
    /// What was measured before the last slot was added, and the decisions since.
    trial: Option<(Throughput, u32)>,
    /// Not above this for so many decisions.
    ceiling: Option<(u32, u32)>,
    unknown_since: Option<Timestamp>,
    /// Of the last change.
    why: String,
}

impl Controller {
    pub(crate) fn new(most: u32, tuning: Tuning) -> Self {
        let most = most.max(1);
        let slots = tuning.start.of(most);
        Self {
            tuning,
            most,
            slots,
            gate: Gate::Open,
            calm: 0,
            measured: Throughput::default(),
            trial: None,
            ceiling: None,
            unknown_since: None,
            why: "the profile begins there".to_owned(),
        }
    }

    /// Moves that may be in flight at this end now.
    pub(crate) fn limit(&self) -> u32 {
        if self.gate == Gate::Open { self.slots } else { 0 }
    }

    /// True when its slots are found, not fixed.
    pub(crate) fn adapts(&self) -> bool {
        self.tuning.adapts
    }

    /// Why it is what it is.
    pub(crate) fn why(&self) -> &str {
        match &self.gate {
            Gate::Open => &self.why,
            Gate::Shut(why) => why,
        }
    }

    /// Decides once. Returns what changed.
    pub(crate) fn decide(&mut self, interval: &Interval<'_>) -> Option<Turn> {
        let from = self.limit();
        if !self.tuning.adapts {
            self.guard(interval.signals);
            let to = self.limit();
            return (from != to).then(|| Turn { from, to, why: self.why().to_owned() });
        }
        self.measured.add(interval.moved);
        let of = |verdict, safety: Option<bool>| {
            interval.signals.iter().find(|s| s.verdict == verdict && safety.is_none_or(|safety| s.safety == safety))
        };
        if let Some(bad) = of(Verdict::Fail, Some(true)) {
            self.unknown_since = None;
            self.to(1, bad.why.clone());
            self.gate = Gate::Shut(bad.why.clone());
            self.calm = self.tuning.calm;
        } else if let Some(bad) = of(Verdict::Fail, None) {
            self.unknown_since = None;
            self.to((self.slots / 2).max(1), bad.why.clone());
            self.gate = Gate::Open;
            self.calm = self.tuning.calm;
        } else if let Some(unknown) = of(Verdict::Unknown, None) {
            let since = *self.unknown_since.get_or_insert(interval.at);
            let seconds = interval.at.duration_since(since).as_secs().max(0).unsigned_abs();
            if seconds >= self.tuning.deadline && self.gate == Gate::Open {
                self.gate = Gate::Shut(format!("unknown for {seconds} s: {}", unknown.why));
            }
            // Nothing that was measured in the dark judges a slot.
            self.trial = None;
            self.measured = Throughput::default();
        } else {
            self.unknown_since = None;
            self.good(interval);
        }
        let to = self.limit();
        (from != to).then(|| Turn { from, to, why: self.why().to_owned() })
    }

    /// Slots as declared, or none while safety says so.
    fn guard(&mut self, signals: &[Signal]) {
        let bad = signals.iter().find(|signal| signal.safety && signal.verdict == Verdict::Fail);
        match bad {
            Some(bad) => self.gate = Gate::Shut(bad.why.clone()),
            None if self.gate != Gate::Open => {
                self.gate = Gate::Open;
                "nothing stops it any more".clone_into(&mut self.why);
            }
            None => {}
        }
    }

    fn good(&mut self, interval: &Interval<'_>) {
        if self.gate != Gate::Open {
            self.gate = Gate::Open;
            "all signals are good again".clone_into(&mut self.why);
            return;
        }
        if let Some((slots, left)) = self.ceiling {
            self.ceiling = left.checked_sub(1).map(|left| (slots, left));
        }
        if let Some((before, decisions)) = self.trial {
            let decisions = decisions + 1;
            if self.measured.moves >= SAMPLES {
                self.trial = None;
                if !self.measured.gained(before, interval.by_bytes) {
                    self.ceiling = Some((self.slots - 1, REST));
                    let unit = if interval.by_bytes { "bytes" } else { "moves" };
                    let per_cent = GAIN_PERMILLE / 10;
                    self.to(self.slots - 1, format!("the last slot did not add {per_cent} % of {unit} a second"));
                    return;
                }
            } else if decisions < TRIAL && interval.full {
                self.trial = Some((before, decisions));
                return;
            } else {
                // Too little was moved to judge it.
                self.trial = None;
            }
        }
        if self.calm > 0 {
            self.calm -= 1;
            return;
        }
        let above = self.ceiling.is_some_and(|(slots, _)| self.slots >= slots);
        if interval.full && self.slots < self.most && !above {
            let measured = self.measured;
            self.to(self.slots + 1, "all signals are good".to_owned());
            self.trial = (measured.moves >= SAMPLES).then_some((measured, 0));
        }
    }

    fn to(&mut self, slots: u32, why: String) {
        if slots != self.slots {
            self.measured = Throughput::default();
        }
        self.why = why;
        self.trial = None;
        self.slots = slots.clamp(1, self.most);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::apply::pace::profile::Start;

    const TUNING: Tuning = Tuning { interval: 60, deadline: 600, start: Start::One, calm: 2, adapts: true };

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).expect("a time")
    }

    fn moved(moves: u64, bytes: u64) -> Throughput {
        Throughput { moves, bytes, millis: 60_000 }
    }

    fn decide(c: &mut Controller, minute: i64, signals: &[Signal], moved: Throughput) -> Option<Turn> {
        c.decide(&Interval { at: at(minute), signals, moved, by_bytes: false, full: true })
    }

    fn signal(verdict: Verdict) -> Signal {
        Signal::new(verdict, "p95")
    }

    #[test]
    fn good_adds_one_bad_halves_unknown_holds() {
        let mut c = Controller::new(8, Tuning { start: Start::Half, ..TUNING });
        assert_eq!(c.limit(), 4);
        assert_eq!(decide(&mut c, 0, &[signal(Verdict::Pass)], moved(0, 0)).map(|t| (t.from, t.to)), Some((4, 5)));
        assert_eq!(decide(&mut c, 1, &[signal(Verdict::Pass), signal(Verdict::Unknown)], moved(0, 0)), None);
        assert_eq!(
            decide(&mut c, 2, &[signal(Verdict::Unknown), signal(Verdict::Fail)], moved(0, 0)),
            Some(Turn { from: 5, to: 2, why: "p95".into() }),
            "bad counts before unknown"
        );
        for minute in 3..5 {
            assert_eq!(decide(&mut c, minute, &[signal(Verdict::Pass)], moved(0, 0)), None, "a cut rests");
        }
        assert_eq!(decide(&mut c, 5, &[], moved(0, 0)).map(|t| t.to), Some(3));
    }

    #[test]
    fn unknown_for_too_long_pauses_and_an_answer_resumes() {
        let mut c = Controller::new(8, Tuning { start: Start::Half, ..TUNING });
        for minute in 0..10 {
            assert_eq!(decide(&mut c, minute, &[signal(Verdict::Unknown)], moved(0, 0)), None);
        }
        let turn = decide(&mut c, 10, &[signal(Verdict::Unknown)], moved(0, 0)).expect("paused");
        assert_eq!((turn.to, turn.why.as_str()), (0, "unknown for 600 s: p95"));
        assert_eq!(decide(&mut c, 11, &[signal(Verdict::Unknown)], moved(0, 0)), None);
        let turn = decide(&mut c, 12, &[signal(Verdict::Pass)], moved(0, 0)).expect("resumed");
        assert_eq!((turn.from, turn.to), (0, 4));
    }

    #[test]
    fn a_safety_signal_stops_and_what_comes_back_begins_with_one() {
        let mut c = Controller::new(8, Tuning { start: Start::All, ..TUNING });
        let panic = Signal::safety(Verdict::Fail, "its disk is full to 93 %");
        assert_eq!(decide(&mut c, 0, std::slice::from_ref(&panic), moved(0, 0)).map(|t| t.to), Some(0));
        assert_eq!(c.why(), "its disk is full to 93 %");
        assert_eq!(decide(&mut c, 1, &[panic], moved(0, 0)), None, "told once");
        assert_eq!(decide(&mut c, 2, &[signal(Verdict::Pass)], moved(0, 0)).map(|t| t.to), Some(1));
    }

    #[test]
    fn a_slot_that_adds_less_than_three_per_cent_is_given_back() {
        let mut c = Controller::new(16, TUNING);
        // Three slots saturate the end.
        let rate = |slots: u32| u64::from(slots.min(3)) * 100;
        let mut seen = Vec::new();
        for minute in 0..20 {
            let moves = rate(c.limit());
            decide(&mut c, minute, &[signal(Verdict::Pass)], moved(moves, 0));
            seen.push(c.limit());
        }
        assert_eq!(seen.iter().max(), Some(&4));
        assert_eq!(c.limit(), 3, "{seen:?}");
        let above = seen.iter().filter(|slots| **slots > 3).count();
        assert!(above <= 2, "tried seldom: {seen:?}");
    }

    #[test]
    fn bytes_count_where_bytes_bind() {
        let before = moved(100, 1000);
        assert!(moved(100, 1030).gained(before, true) && !moved(100, 1029).gained(before, true));
        assert!(!moved(102, 2000).gained(before, false));
    }

    #[test]
    fn what_is_not_used_is_not_raised() {
        let mut c = Controller::new(16, TUNING);
        let interval = Interval { at: at(0), signals: &[], moved: moved(5, 5), by_bytes: false, full: false };
        assert_eq!(c.decide(&interval), None);
    }

    proptest! {
        #[test]
        fn slots_stay_within_limits_and_never_rise_on_doubt(
            most in 1u32..40,
            story in proptest::collection::vec((0u8..5, 0u64..50, any::<bool>()), 1..200),
        ) {
            let mut c = Controller::new(most, TUNING);
            for (minute, (what, moves, full)) in (0i64..).zip(story) {
                let before = c.limit();
                let signals = match what {
                    0 => vec![signal(Verdict::Fail)],
                    1 => vec![signal(Verdict::Unknown)],
                    2 => vec![Signal::safety(Verdict::Fail, "stop")],
                    _ => vec![signal(Verdict::Pass)],
                };
                let moved = moved(moves, moves);
                let turn = c.decide(&Interval { at: at(minute), signals: &signals, moved, by_bytes: false, full });
                prop_assert!(c.limit() <= most);
                prop_assert_eq!(turn.map(|t| (t.from, t.to)), (before != c.limit()).then_some((before, c.limit())));
                match what {
                    0 => prop_assert!(c.limit() >= 1 && c.limit() <= (before / 2).max(1)),
                    1 => prop_assert!(c.limit() == before || c.limit() == 0),
                    2 => prop_assert_eq!(c.limit(), 0),
                    _ => prop_assert!(c.limit() >= 1 && (before == 0 || c.limit() <= before + 1)),
                }
            }
        }
    }
}
