//! The embedded cluster: enough of Kubernetes' API for what tranship asks of one, answered as a real 1.34 answers.
//!
//! [`Store`] is a pure state machine, like the world that it belongs to: objects, what the API's verbs do to them
//! (`verbs`, over `managers` for server-side apply, `defaults`, `validate`, `admission`), and what controllers make of
//! them (`controllers`). `serve` puts it behind HTTP. A contract test asks this and a real control plane the same; where
//! they differ, this is wrong.

mod admission;
mod controllers;
mod defaults;
mod direct;
mod fields;
mod kinds;
mod managers;
mod quantity;
mod rights;
mod schema;
mod serve;
mod status;
mod store;
mod typed;
mod validate;
mod values;
mod verbs;

pub use controllers::Surroundings;
pub use direct::Direct;
pub(super) use serve::serve;
pub use store::{ObjectChange, PodFacts, Store};
