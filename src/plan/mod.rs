//! The plan: what takes observed to desired, as a total, ordered, explained value; and the pure function that makes it.
//!
//! No clock, no randomness, no I/O: the same input gives the same bytes, in any order of listing. `make` runs the
//! steps; each of the other files holds one concern.

mod action;
mod assemble;
mod assign;
pub mod balance;
mod basis;
pub mod check;
mod checks;
mod diff;
mod doubt;
mod drain;
pub mod durations;
mod estimate;
mod fit;
#[cfg(test)]
mod fixture;
pub mod freeze;
mod gates;
mod graph;
mod growth;
pub mod judge;
#[cfg(test)]
mod laws;
mod limits;
mod make;
mod moved;
mod networks;
pub mod order;
mod outlook;
mod placement;
pub mod pods;
mod policy;
mod preflight;
mod ramp;
pub mod ready;
mod release;
mod report;
pub mod room;
mod row;
pub mod saved;
mod select;
mod sizes;
mod told;
mod unlisted;
mod waves;
mod whole;
pub mod window;

pub use action::{Action, ActionId, After, Calm, Change, Check, Edge, MoveOrder, PlannedMove, WeightChange};
pub use basis::{stale, state_digest};
pub use fit::Observations;
pub use gates::gates_wanted;
pub use limits::{ConcurrencyPlan, FreezePlan, StoragePlan};
pub use make::{Options, make};
pub use networks::pools_wanted;
pub use outlook::{Binding, Estimate, PlacementPlan};
pub use placement::need;
pub(crate) use preflight::version;
pub use release::hold_address;
pub use sizes::unmeasured;
pub use told::{
    Drift, Finding, Level, MISSING_OBJECTS, MISSING_REFERENCE, NotPlanned, PolicyVerdict, Quarantined, Verdict,
    WaitingOn, is_possible_loss,
};
pub use whole::{Basis, Plan, Rename};
