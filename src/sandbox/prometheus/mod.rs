//! A Prometheus that has scraped the fleet: every 15 s of the fleet's time, each storage's Gitaly, its requests by
//! outcome and time, and its disk. Nothing is stored: a sample is computed from what the world knows when it is asked
//! for.
//!
//! | file | what |
//! | --- | --- |
//! | `series` | what was scraped, and what faults keep from it |
//! | `eval` | PromQL as gates need it, with Prometheus' meaning; what it does not know it refuses |
//! | `range` | functions over a range of samples, and histograms |
//! | `vectors` | operators between vectors, and aggregation |
//! | `serve` | the HTTP API |

mod eval;
mod range;
mod series;
mod serve;
#[cfg(test)]
mod tests;
mod vectors;

pub use eval::{Fault, Labels, Query, Sample, Value};
pub use series::{Scrape, Server, Source};
pub(super) use serve::serve;
