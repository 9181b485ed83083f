//! What a run says to people: consumes events, yields lines. Pure: the clock is an argument, streams are elsewhere.
//!
//! Failures, quarantines, skips, waits, and the begin and end of actions are always said. Of verified moves about a
//! hundred are said one by one, however many there are; totals come at a pace.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::text::{self, escape, of_bytes};
use super::words::{self, Gravity};
use crate::apply::event::Event;
use crate::model::Bytes;

/// At most this many verified moves are said one by one.
const SAID_ONE_BY_ONE: u64 = 100;
/// Seconds of the fleet's clock between two lines of totals, at least.
const PACE_SECONDS: u64 = 5;
/// And about this many lines of totals in a run, whatever the fleet's clock: a fast one must not flood the screen.
const TOTALS_IN_A_RUN: u64 = 100;
/// The rate is measured over the latest samples, this many; an end of a move gives one, but one a second at most.
const SAMPLES: usize = 120;

/// Something to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A line that stays.
    Line {
        /// How grave.
        gravity: Gravity,
        /// One line, safe for a terminal.
        text: String,
    },
    /// The totals so far: a line where there is no bar.
    Totals(String),
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Timestamp,
    handled: u64,
    bytes: u64,
}

/// The totals of a run as its events tell them.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    moves: u64,
    bytes: u64,
    expected_seconds: u64,
    verified: u64,
    verified_bytes: u64,
    /// Ended otherwise: skipped or quarantined.
    set_aside: u64,
    said_at: Option<Timestamp>,
    samples: VecDeque<Sample>,
    /// When the engine last said how long the rest takes: most likely, at least, at most.
    predicted: Option<(Timestamp, [u64; 3])>,
    /// What keeps new moves from beginning.
    held: Option<String>,
}

impl Progress {
    /// Makes one for a run that begins with [`Event::RunStarted`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event at a time of the fleet's clock; returns what to show, in order.
    pub fn take(&mut self, event: &Event, at: Timestamp) -> Vec<Said> {
        let mut said = Vec::new();
        let mut always = true;
        match event {
            Event::RunStarted { run: _, actions: _, moves, bytes, expected_seconds } => {
                *self = Self { moves: *moves, bytes: bytes.0, expected_seconds: *expected_seconds, ..Self::default() };
                self.said_at = Some(at);
                self.sample(at);
            }
            // It only says that GitLab took it; the end says all of it again.
            Event::MoveScheduled { attempt, .. } => {
                always = *attempt > 1;
                if self.verified == 0 && self.set_aside == 0 {
                    // The rate counts from the first move on, not from the weights before it.
                    self.samples.clear();
                    self.sample(at);
                }
            }
            Event::MoveVerified { bytes, verdict, detail, .. } => {
                self.verified = self.verified.saturating_add(1);
                self.verified_bytes = self.verified_bytes.saturating_add(bytes.0);
                let every = self.moves.div_ceil(SAID_ONE_BY_ONE).max(1);
                always = verdict == "unknown" || !detail.is_empty() || self.verified.is_multiple_of(every);
                self.sample(at);
            }
            Event::MoveSkipped { .. } | Event::Quarantined { .. } => {
                self.set_aside = self.set_aside.saturating_add(1);
                self.sample(at);
            }
            Event::Eta { seconds, low, high } => {
                always = false;
                self.predicted = Some((at, [*seconds, *low, *high]));
            }
            Event::Held { by } => self.held.clone_from(by),
            Event::Resumed { .. }
            | Event::Throttled { .. }
            | Event::ActionStarted { .. }
            | Event::ActionEnded { .. }
            | Event::MoveRetried { .. }
            | Event::Waiting { .. }
            | Event::HookEnded { .. }
            | Event::Warning { .. }
            | Event::Stopping { .. } => {}
            Event::RunEnded { .. } => {
                if self.moves > 0 {
                    said.push(Said::Totals(self.totals()));
                }
            }
        }
        if always {
            let gravity = words::gravity(event);
            said.push(Said::Line { gravity, text: escape(&words::event(event)).into_owned() });
            if let Event::Quarantined { evidence, remedy, .. } = event {
                let evidence = evidence.iter().map(|e| format!("    seen: {}", escape(e)));
                let remedy = remedy.lines().map(|l| format!("    what to do: {}", escape(l)));
                said.extend(evidence.chain(remedy).map(|text| Said::Line { gravity, text }));
            }
        }
        let moved = matches!(event, Event::MoveVerified { .. } | Event::MoveSkipped { .. } | Event::Quarantined { .. });
        if moved && self.due(at) {
            self.said_at = Some(at);
            said.push(Said::Totals(self.totals()));
        }
        said
    }

    /// True when totals may be said again.
    fn due(&self, at: Timestamp) -> bool {
        let pace = PACE_SECONDS.max(self.expected_seconds / TOTALS_IN_A_RUN);
        self.said_at.is_none_or(|last| seconds_between(last, at) >= pace)
    }

    fn sample(&mut self, at: Timestamp) {
        if self.samples.back().is_some_and(|last| seconds_between(last.at, at) < 1) {
            return;
        }
        // The window is of moves, not of time: it holds at least this many of the latest ends.
        if self.samples.len() >= SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { at, handled: self.handled(), bytes: self.verified_bytes });
    }

    /// Moves that have ended in whatever way, at most all of them.
    pub fn handled(&self) -> u64 {
        self.verified.saturating_add(self.set_aside)
    }

    /// Moves in the plan.
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// `moved 312/5000 repositories · 1.2/9.8 TiB · 41 MiB/s · ETA 2 h 05`.
    pub fn totals(&self) -> String {
        // Taking up an earlier run's moves, nobody says how many there are in all.
        let known = self.moves > 0;
        let moved = if known { format!("{}/{}", self.verified, self.moves) } else { self.verified.to_string() };
        let noun = if (if known { self.moves } else { self.verified }) == 1 { "repository" } else { "repositories" };
        let mut parts = vec![format!("moved {moved} {noun}")];
        if self.set_aside > 0 {
            parts.push(format!("{} not moved", self.set_aside));
        }
        let bytes = Bytes(self.verified_bytes);
        parts.push(if known { of_bytes(bytes, Bytes(self.bytes)) } else { bytes.to_string() });
        let window = self.samples.front().zip(self.samples.back());
        if let Some((first, last)) = window {
            let seconds = seconds_between(first.at, last.at);
            if let Some(rate) = last.bytes.saturating_sub(first.bytes).checked_div(seconds) {
                parts.push(format!("{}/s", Bytes(rate)));
            }
            match self.predicted.filter(|_| self.handled() < self.moves) {
                Some((at, figures)) => {
                    let passed = seconds_between(at, last.at);
                    let [eta, low, high] = figures.map(|figure| text::eta(figure.saturating_sub(passed)));
                    parts.push(if low == high { format!("ETA {eta}") } else { format!("ETA {eta} ({low} to {high})") });
                }
                None => {
                    let eta = self.eta(*first, *last, seconds);
                    parts.extend(eta.map(|eta| format!("ETA {}", text::eta(eta))));
                }
            }
        }
        if let Some(by) = &self.held {
            parts.push(format!("held: {}", escape(by)));
        }
        parts.join(" · ")
    }

    /// Seconds left by the rate measured so far: by count or by bytes, whichever takes longer. None before one per
    /// cent is done (a handful of moves says nothing of the rest) and none when nothing is left.
    fn eta(&self, first: Sample, last: Sample, seconds: u64) -> Option<u64> {
        let left = self.moves.saturating_sub(self.handled());
        let enough = u128::from(self.handled()) * 100 >= u128::from(self.moves);
        let done = last.handled.saturating_sub(first.handled);
        if left == 0 || !enough || done == 0 || seconds == 0 {
            return None;
        }
        let takes = |left: u64, done: u64| u128::from(left) * u128::from(seconds) / u128::from(done.max(1));
        let by_count = takes(left, done);
        let bytes_done = last.bytes.saturating_sub(first.bytes);
        let bytes_left = self.bytes.saturating_sub(self.verified_bytes);
        // Too few bytes measured say nothing of the many that are left.
        let known = bytes_done > 0 && u128::from(self.verified_bytes) * 100 >= u128::from(self.bytes);
        let by_bytes = if known { takes(bytes_left, bytes_done) } else { 0 };
        u64::try_from(by_count.max(by_bytes)).ok()
    }
}

/// Whole seconds from one time to a later one; 0 when the clock went back.
fn seconds_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_second().saturating_sub(from.as_second())).unwrap_or(0)
}
