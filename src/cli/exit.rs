//! Exit codes: one table, which `--help`, the README and the tests share, and the rule for when several hold.

use std::fmt::Write as _;

use crate::apply::event::Summary;
use crate::plan::{Level, Plan};

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// An error.
    Error = 1,
    /// Changes present, where that was asked.
    Changes = 2,
    /// Wrong usage.
    Usage = 3,
    /// Applied in part.
    Partial = 4,
    /// Somebody else holds the lock.
    Locked = 5,
    /// The saved plan is stale.
    Stale = 6,
    /// A policy or a gate said no, or a drain cannot end.
    Refused = 7,
    /// A reference tip is missing on a destination.
    Loss = 8,
    /// It waits for something, and was not to wait any longer.
    Paused = 9,
    /// A signal ended it.
    Interrupted = 130,
}

impl Exit {
    /// Every exit with its meaning, in the order of the table.
    pub const TABLE: &'static [(Self, &'static str)] = &[
        (Self::Done, "done, or nothing to do"),
        (Self::Error, "error"),
        (Self::Changes, "changes present (`plan --detailed-exitcode`, `fmt --check`)"),
        (Self::Usage, "wrong usage"),
        (Self::Partial, "applied in part: something failed, was skipped or quarantined, or arrived meanwhile"),
        (Self::Locked, "lock held"),
        (Self::Stale, "stale plan, found before the first action"),
        (Self::Refused, "a policy or gate said no or could not be answered; or a drain that cannot end"),
        (Self::Loss, "possible loss: a reference tip is missing on a destination"),
        (Self::Paused, "paused by `--max-wait`: soak, window or gate; says when to come back"),
        (Self::Interrupted, "interrupted"),
    ];

    /// The rule for when several hold, as it is printed.
    pub const RULE: &'static str = "When several hold: 8 before all, then 130, then the one further down.";

    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Of two that hold, the one to end with.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let rank = |exit: Self| match exit {
            Self::Loss => (2, 0),
            Self::Interrupted => (1, 0),
            other => (0, other.code()),
        };
        if rank(self) >= rank(other) { self } else { other }
    }

    /// What a finished plan means, whether it is applied or not.
    pub fn of_plan(plan: &Plan) -> Self {
        let mut exit = Self::Done;
        if has_errors(plan) {
            exit = exit.and(Self::Error);
        }
        if plan.refused_by_policy() || plan.drain_is_stuck() {
            exit = exit.and(Self::Refused);
        }
        exit
    }

    /// What the end of a run means.
    pub fn of_summary(summary: &Summary) -> Self {
        // Taken apart, so that a new total cannot be forgotten here.
        let Summary {
            done: _,
            failed,
            // Counted as failed too.
            alarms: _,
            skipped,
            stale,
            not_started,
            refused,
            gates_closed,
            paused,
            attested: _,
            advanced: _,
            bracketed: _,
            unknown,
            whole: _,
            whole_unknown,
            moves_skipped,
            moves_moot,
            quarantined,
            lost,
            in_doubt,
            bytes: _,
            seconds: _,
            time: _,
            interrupted,
            remarks: _,
        } = summary;
        let in_part = [failed, skipped, stale, not_started, refused, unknown, whole_unknown, quarantined, in_doubt]
            .into_iter()
            .any(|n| *n > 0)
            || moves_skipped > moves_moot;
        let mut exit = if in_part { Self::Partial } else { Self::Done };
        if *gates_closed > 0 {
            exit = exit.and(Self::Refused);
        }
        if *paused > 0 {
            exit = exit.and(Self::Paused);
        }
        if *interrupted {
            exit = exit.and(Self::Interrupted);
        }
        if *lost > 0 {
            exit = exit.and(Self::Loss);
        }
        exit
    }

    /// The table as text, for the long help.
    pub fn help() -> String {
        let mut text = String::from("Exit codes:\n");
        for (exit, meaning) in Self::TABLE {
            let _ = writeln!(text, "  {:>3}  {meaning}", exit.code());
        }
        let _ = write!(text, "  {}", Self::RULE);
        text
    }
}

/// True when the preflight found something that forbids an apply.
pub(crate) fn has_errors(plan: &Plan) -> bool {
    plan.findings.iter().any(|finding| finding.level == Level::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_before_all_then_the_interrupt_then_the_one_further_down() {
        for (a, _) in Exit::TABLE {
            assert_eq!(Exit::Loss.and(*a), Exit::Loss);
            assert_eq!(a.and(Exit::Loss), Exit::Loss);
            if *a != Exit::Loss {
                assert_eq!(Exit::Interrupted.and(*a), Exit::Interrupted);
                assert_eq!(a.and(Exit::Interrupted), Exit::Interrupted);
            }
            for (b, _) in Exit::TABLE {
                assert_eq!(a.and(*b), b.and(*a));
            }
        }
        assert_eq!(Exit::Partial.and(Exit::Refused), Exit::Refused);
        assert_eq!(Exit::Changes.and(Exit::Error), Exit::Changes);
    }

    #[test]
    fn the_table_has_the_numbers_of_the_documentation() {
        let codes: Vec<u8> = Exit::TABLE.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 130]);
    }

    #[test]
    fn each_total_that_is_no_success_shows() {
        let of = |change: fn(&mut Summary)| {
            let mut summary = Summary { done: 3, attested: 2, ..Summary::default() };
            change(&mut summary);
            Exit::of_summary(&summary)
        };
        assert_eq!(of(|_| ()), Exit::Done);
        for change in [
            (|s| s.failed = 1) as fn(&mut Summary),
            |s| s.skipped = 1,
            |s| s.stale = 1,
            |s| s.not_started = 1,
            |s| s.refused = 1,
            |s| s.unknown = 1,
            |s| s.whole_unknown = 1,
            |s| s.quarantined = 1,
            |s| (s.moves_skipped, s.moves_moot) = (2, 1),
        ] {
            assert_eq!(of(change), Exit::Partial);
        }
        assert_eq!(of(|s| (s.gates_closed, s.skipped) = (1, 2)), Exit::Refused);
        assert_eq!(of(|s| (s.paused, s.skipped) = (1, 2)), Exit::Paused);
        assert_eq!(of(|s| (s.moves_skipped, s.moves_moot) = (2, 2)), Exit::Done, "deleted meanwhile is done");
        assert_eq!(of(|s| (s.interrupted, s.not_started) = (true, 1)), Exit::Interrupted);
        assert_eq!(of(|s| (s.interrupted, s.lost) = (true, 1)), Exit::Loss);
    }
}
