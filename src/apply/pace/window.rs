//! What was measured of one end since the last decision, and the signals that this gives beside the declared ones.

use super::controller::{Signal, Throughput};
use crate::plan::Verdict;

/// More failures than this of so many ended moves are bad. Half of what ends a wave at once would be noise.
const FAILURES_PERCENT: u64 = 5;
const FAILURES_OVER: u64 = 10;
/// Milliseconds from the POST to `started`, on the mean: a worker that is free takes a job in well under a second, and
/// looks are two seconds apart.
const QUEUE_MS: u64 = 10_000;
/// Read-only times above so many times the predicted, on the mean of at least [`FROZEN_OVER`] moves, say that what
/// copies is overloaded. At twice, the prediction's own error would slow every fleet.
const FROZEN_TIMES: u64 = 4;
const FROZEN_OVER: u64 = 5;

/// A move that has ended, as its ends see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MoveEnd {
    pub(crate) bytes: u64,
    pub(crate) frozen_ms: u64,
    pub(crate) predicted_ms: u64,
    /// Of the prediction, what does not depend on bytes.
    pub(crate) fixed_ms: u64,
}

/// Of one end, since the last decision.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    moves: u64,
    bytes: u64,
    failures: u64,
    frozen_ms: u64,
    predicted_ms: u64,
    fixed_ms: u64,
    queued: u64,
    queued_ms: u64,
    /// A move was kept waiting by this end's slots.
    pub(crate) full: bool,
}

impl Window {
    pub(crate) fn moved(&mut self, end: MoveEnd) {
        self.moves += 1;
        self.bytes = self.bytes.saturating_add(end.bytes);
        self.frozen_ms = self.frozen_ms.saturating_add(end.frozen_ms);
        self.predicted_ms = self.predicted_ms.saturating_add(end.predicted_ms);
        self.fixed_ms = self.fixed_ms.saturating_add(end.fixed_ms);
    }

    pub(crate) fn failed(&mut self) {
        self.failures += 1;
    }

    pub(crate) fn taken(&mut self, millis: u64) {
        self.queued += 1;
        self.queued_ms = self.queued_ms.saturating_add(millis);
    }

    pub(crate) fn throughput(&self, millis: u64) -> Throughput {
        Throughput { moves: self.moves, bytes: self.bytes, millis }
    }

    /// True when more of the predicted time goes into bytes than into what each move costs beside them.
    pub(crate) fn by_bytes(&self) -> bool {
        self.predicted_ms > self.fixed_ms.saturating_mul(2)
    }

    /// What it says. Nothing measured is no doubt: a move may take longer than an interval.
    pub(crate) fn signals(&self) -> Vec<Signal> {
        let verdict = |bad: bool| if bad { Verdict::Fail } else { Verdict::Pass };
        let ended = self.moves + self.failures;
        let failures = ended >= FAILURES_OVER && self.failures * 100 > ended * FAILURES_PERCENT;
        let queue = self.queued_ms.checked_div(self.queued).unwrap_or(0);
        let frozen = self.moves >= FROZEN_OVER && self.frozen_ms > self.predicted_ms.saturating_mul(FROZEN_TIMES);
        vec![
            Signal::new(verdict(failures), format!("{} of {ended} moves failed", self.failures)),
            Signal::new(verdict(queue > QUEUE_MS), format!("moves waited {} s for a worker", queue / 1000)),
            Signal::new(
                verdict(frozen),
                format!("repositories were read-only for more than {FROZEN_TIMES} times as long as predicted"),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(window: &Window) -> Vec<String> {
        window.signals().into_iter().filter(|s| s.verdict == Verdict::Fail).map(|s| s.why).collect()
    }

    #[test]
    fn failures_queues_and_long_freezes_are_bad_and_nothing_is_good() {
        assert_eq!(bad(&Window::default()), Vec::<String>::new());
        let mut window = Window::default();
        for _ in 0..9 {
            window.moved(MoveEnd { bytes: 0, frozen_ms: 5_000, predicted_ms: 4_000, fixed_ms: 4_000 });
        }
        window.failed();
        assert_eq!(bad(&window), ["1 of 10 moves failed"]);
        window.taken(12_000);
        assert_eq!(bad(&window).last().map(String::as_str), Some("moves waited 12 s for a worker"));
        let mut slow = Window::default();
        for _ in 0..5 {
            slow.moved(MoveEnd { bytes: 1 << 30, frozen_ms: 90_000, predicted_ms: 20_000, fixed_ms: 4_000 });
        }
        assert_eq!(bad(&slow).len(), 1);
        assert!(slow.by_bytes());
    }
}
