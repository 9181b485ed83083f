//! What happens during an apply, told by the engine, shown by the views. A small closed set; no printing here.

use serde::Serialize;

use crate::model::{Address, Bytes, Container, HookEvent, StorageName};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The run begins.
    RunStarted {
        /// The run's name, also its folder's.
        run: String,
        /// Actions in the plan.
        actions: u64,
        /// Moves in the plan.
        moves: u64,
        /// Bytes in the plan.
        bytes: Bytes,
        /// Expected seconds of the fleet's clock.
        expected_seconds: u64,
    },
    /// Moves of an earlier run that was cut short are taken up.
    Resumed {
        /// The earlier run.
        run: String,
        /// Moves whose end that run did not see.
        in_doubt: u64,
    },
    /// An action begins.
    ActionStarted {
        /// Which.
        address: Address,
        /// What it does, in a line.
        what: String,
    },
    /// An action ended.
    ActionEnded {
        /// Which.
        address: Address,
        /// How.
        outcome: Outcome,
    },
    /// GitLab took a move.
    MoveScheduled {
        /// What moves.
        container: Container,
        /// Its path.
        path: String,
        /// From.
        source: StorageName,
        /// To.
        destination: StorageName,
        /// GitLab's id of the move.
        move_id: u64,
        /// From 1.
        attempt: u32,
        /// When it was asked for, by the fleet's clock: read-only since then at most. Of an earlier run's, before this one.
        since: jiff::Timestamp,
    },
    /// A move ended and was compared.
    MoveVerified {
        /// What moved.
        container: Container,
        /// Its path.
        path: String,
        /// From.
        source: StorageName,
        /// To.
        destination: StorageName,
        /// As planned.
        bytes: Bytes,
        /// `attested`, `advanced`, `bracketed` or `unknown`.
        verdict: String,
        /// Why unknown; empty otherwise.
        detail: String,
        /// Milliseconds of the fleet's clock from POST to the end: the read-only time at most.
        frozen_ms: u64,
    },
    /// A move failed and is tried again.
    MoveRetried {
        /// What moves.
        container: Container,
        /// Its path.
        path: String,
        /// Why.
        cause: String,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Seconds of the fleet's clock until the next.
        after_seconds: u64,
        /// It may still be read-only: only the next attempt tells.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        frozen: bool,
    },
    /// A move was not made.
    MoveSkipped {
        /// What did not move.
        container: Container,
        /// Its path.
        path: String,
        /// Why: `deleted meanwhile`, `stale: …`, `no room: …`.
        why: String,
        /// True when that is as good as done (deleted, or already there).
        done: bool,
    },
    /// A repository was set aside.
    Quarantined {
        /// Which.
        container: Container,
        /// Its path.
        path: String,
        /// Why.
        cause: String,
        /// What was seen.
        evidence: Vec<String>,
        /// What to do.
        remedy: String,
        /// A reference tip is missing: exit code 8.
        loss: bool,
    },
    /// How many moves may be in flight was changed.
    Throttled {
        /// Of what: `pod-a as destination`, `GitLab's workers`.
        what: String,
        /// The storage, where it is one's.
        storage: Option<StorageName>,
        /// Slots before; 0: none were begun.
        from: u32,
        /// Slots since; 0: none is begun.
        to: u32,
        /// Why.
        why: String,
    },
    /// What keeps new moves from beginning has changed, declared limits aside.
    Held {
        /// A veto, slots that were found, GitLab's workers, room; `None`: nothing any more.
        by: Option<String>,
    },
    /// Something is waited for.
    Waiting {
        /// For what, in a line.
        what: String,
    },
    /// How long what is left may take, seconds of the fleet's clock; waits for a window aside.
    Eta {
        /// Most likely.
        seconds: u64,
        /// 80 times of 100 it is no less.
        low: u64,
        /// And no more.
        high: u64,
    },
    /// A program of the operator's has run.
    HookEnded {
        /// The hook.
        hook: String,
        /// For what.
        on: HookEvent,
        /// It ended with 0.
        well: bool,
        /// `exit code 1`, `ended by its timeout of 600 s` …
        how: String,
        /// The last lines that it wrote.
        output: String,
    },
    /// Something to know that stops nothing.
    Warning {
        /// In a line.
        message: String,
    },
    /// A signal came: nothing new is scheduled.
    Stopping {
        /// Moves that are followed to their end.
        in_flight: u64,
        /// Expected seconds of the fleet's clock at most.
        expected_seconds: u64,
    },
    /// The run is over.
    RunEnded {
        /// The totals.
        summary: Summary,
    },
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// As planned.
    Done {
        /// In a line; may be empty.
        detail: String,
    },
    /// Not.
    Failed {
        /// In a line.
        cause: String,
    },
    /// A precondition did not hold any more.
    Stale {
        /// Which.
        cause: String,
    },
    /// Not begun, because of another action.
    Skipped {
        /// The action that failed.
        because: Address,
    },
    /// Not begun, or not finished, because the run was stopped.
    NotStarted,
    /// A gate said no, or could not be answered: exit code 7.
    GateClosed {
        /// Which, and what it saw.
        cause: String,
    },
    /// It would have to wait longer than `--max-wait` allows: exit code 9.
    Paused {
        /// For what, and when to come back.
        until: String,
    },
    /// A proof was refused: something is left on the storage.
    Refused {
        /// What.
        cause: String,
    },
}

/// Read-only time of a run's moves, and how good its predictions were.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TimeSummary {
    /// Milliseconds that repositories were read-only, from just before each POST to the end as it was seen; failed
    /// attempts among them.
    pub frozen_ms: u64,
    /// The longest of them.
    pub longest_ms: u64,
    /// Whose: like `project-12 web/shop`; empty without moves.
    pub longest: String,
    /// Where a day has a budget: top-level groups by what they have spent of it this day, those with most first, at most
    /// five.
    pub spent: Vec<Spent>,
    /// Verified moves whose duration had been predicted by an interval that should hold 80 times of 100.
    pub predicted: u64,
    /// Of those, that it held.
    pub held: u64,
    /// Predictions of the end that were told, each an interval that should hold 80 times of 100; 0 for a run that did not
    /// end by itself.
    pub ends_predicted: u64,
    /// Of those, that it held.
    pub ends_held: u64,
}

/// What one group has spent of its freeze budget of the day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// The top-level group.
    pub group: String,
    /// Milliseconds, earlier runs of the day among them.
    pub spent_ms: u64,
    /// What is allowed, milliseconds.
    pub budget_ms: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Totals of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Actions that ended well.
    pub done: u64,
    /// That failed.
    pub failed: u64,
    /// Of those, because another disk than the right one is behind a storage.
    #[serde(skip_serializing_if = "is_zero")]
    pub alarms: u64,
    /// That were skipped because of another.
    pub skipped: u64,
    /// Whose precondition did not hold any more.
    pub stale: u64,
    /// That were not begun or not finished when the run stopped.
    pub not_started: u64,
    /// Proofs refused.
    pub refused: u64,
    /// Gates that said no or could not be answered, and hooks before a wave that failed.
    pub gates_closed: u64,
    /// Actions that were left waiting, by `--max-wait`.
    pub paused: u64,
    /// Verified moves by verdict.
    pub attested: u64,
    /// Pushes landed meanwhile, nothing lost.
    pub advanced: u64,
    /// The frozen read came too late.
    pub bracketed: u64,
    /// Could not be verified.
    pub unknown: u64,
    /// Destinations found whole, object by object.
    pub whole: u64,
    /// Destinations that were to be checked so and could not.
    pub whole_unknown: u64,
    /// Moves not made.
    pub moves_skipped: u64,
    /// Of those, as good as done.
    pub moves_moot: u64,
    /// Repositories set aside in this run.
    pub quarantined: u64,
    /// Of those, with a missing reference tip.
    pub lost: u64,
    /// Moves, and objects of a cluster, of which it could not be found out how they ended: the next apply asks again.
    #[serde(skip_serializing_if = "is_zero")]
    pub in_doubt: u64,
    /// Bytes of verified moves.
    pub bytes: Bytes,
    /// Seconds of the fleet's clock.
    pub seconds: u64,
    /// Read-only time, and how good predictions were.
    pub time: TimeSummary,
    /// A signal ended it.
    pub interrupted: bool,
    /// What could not be read back or was left to a person, a line each.
    pub remarks: Vec<String>,
}
