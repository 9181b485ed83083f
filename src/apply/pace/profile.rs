//! The constants of each profile.

use crate::model::Profile;
use crate::plan::ConcurrencyPlan;

/// Between two questions to vetoes where no profile says it. At ten times that a fire would be fed for two minutes more;
/// at a tenth, an incident tool would be asked forty times a minute.
const VETO_INTERVAL: u64 = 15;

/// Between two looks at what stops fixed slots. A disk that something else fills by a gigabyte a second gains thirty in it.
const SAFETY_INTERVAL: u64 = 30;

/// How a controller behaves. Seconds are of the fleet's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tuning {
    /// Seconds between two decisions.
    pub(crate) interval: u64,
    /// Seconds after which signals that are still unknown pause an end.
    pub(crate) deadline: u64,
    /// Slots to begin with, of the declared most.
    pub(crate) start: Start,
    /// Decisions after a cut in which nothing is raised: what was cut must show first.
    pub(crate) calm: u32,
    /// Slots are found; else they are as declared, and only what is a matter of safety stops them.
    pub(crate) adapts: bool,
}

/// Where slots begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    One,
    Half,
    All,
}

impl Start {
    pub(crate) fn of(self, most: u32) -> u32 {
        match self {
            Self::One => 1,
            Self::Half => most.div_ceil(2),
            Self::All => most,
        }
        .clamp(1, most.max(1))
    }
}

impl Tuning {
    /// Of a plan.
    ///
    /// An interval must be longer than what a signal needs to show a change: rates over a minute or two with scrapes of
    /// 15 s move within one. A controller that decides faster than its signals answers to its own past; one ten times as
    /// slow spends a night on finding its slots. Deadlines outlast a restart of Prometheus (minutes), not its loss.
    pub(crate) fn of(plan: &ConcurrencyPlan) -> Self {
        let tuning = match plan.profile {
            Profile::Fixed => {
                Self { interval: SAFETY_INTERVAL, deadline: u64::MAX, start: Start::All, calm: 0, adapts: false }
            }
            // People work on the fleet: ten decisions from one slot to ten take ten minutes, a cut rests for three.
            Profile::Gentle => Self { interval: 60, deadline: 600, start: Start::One, calm: 3, adapts: true },
            // Half of what was declared is a guess that is wrong by a factor of two at most, either way.
            Profile::Balanced => Self { interval: 30, deadline: 600, start: Start::Half, calm: 2, adapts: true },
            // Nobody works, and the hours are few: all at once, back within two decisions, and given up on sooner when
            // nobody can say how it goes.
            Profile::Window => Self { interval: 15, deadline: 300, start: Start::All, calm: 1, adapts: true },
        };
        Self {
            interval: plan.interval_seconds.unwrap_or(tuning.interval).max(1),
            deadline: plan.deadline_seconds.unwrap_or(tuning.deadline),
            ..tuning
        }
    }

    /// Seconds between two rounds of questions.
    pub(crate) fn interval_of(plan: &ConcurrencyPlan) -> u64 {
        let tuning = Self::of(plan);
        let vetoed = !tuning.adapts && !plan.vetoes.is_empty();
        if vetoed { plan.interval_seconds.unwrap_or(VETO_INTERVAL).max(1) } else { tuning.interval }
    }
}
