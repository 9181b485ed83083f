//! The embedded cluster.

mod fields;
mod quantity;
mod schema;
mod typed;
