//! How many moves run at once: pure controllers, to which time and answers are handed. No clock, no I/O.
//!
//! | file | what |
//! | --- | --- |
//! | `profile` | the constants of each profile, with what argues for them |
//! | `controller` | one end of moves, a storage as source or as destination: AIMD on its slots |
//! | `window` | what was measured of an end since the last decision, and the signals that this gives |
//! | `workers` | GitLab's own worker slots, found from the moves table |
//! | `veto` | what was answered to vetoes, three-valued |
//! | `ends` | all of them together, for one run |

mod controller;
mod ends;
mod profile;
mod veto;
mod window;
mod workers;

pub(crate) use controller::{Signal, Turn};
pub(crate) use ends::Pace;
pub(crate) use veto::{Answer, of_series};
pub(crate) use workers::{Look, Workers};

use std::fmt;

use crate::model::StorageName;

/// What a storage is to a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Source,
    Destination,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

/// One end of moves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    pub(crate) storage: StorageName,
    pub(crate) role: Role,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.storage, self.role)
    }
}
