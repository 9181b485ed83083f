//! What Prometheus answered to a gate's question, before anybody judges it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Address, StorageName};

/// The points of one series, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Without `__name__` where PromQL dropped it.
    pub labels: BTreeMap<String, String>,
    /// Time and value; the value may be NaN or infinite.
    pub points: Vec<(Timestamp, f64)>,
}

/// What became of one query.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Its elements, possibly none.
    Series(Vec<Series>),
    /// Prometheus takes the query for wrong, in its own words: asking again does not help.
    Refused(String),
    /// It could not be asked, or did not answer: why, in a line without secrets.
    Failed(String),
}

/// How fresh the samples are that one selector of a query finds.
#[derive(Debug, Clone, PartialEq)]
pub struct Freshness {
    /// The selector, as PromQL.
    pub selector: String,
    /// Seconds from its newest sample to when it was asked; `None`: no sample within Prometheus' own lookback.
    pub age_seconds: Option<f64>,
    /// How many samples its fullest series has in the window before that.
    pub samples: f64,
    /// How far back samples were counted, at least [`Freshness::LEAST_WINDOW`].
    pub window_seconds: u64,
}

impl Freshness {
    /// Seconds; wider than Prometheus' lookback of five minutes, so that what it hides is seen.
    pub const LEAST_WINDOW: u64 = 900;
}

/// All that Prometheus said to one check.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// When it was asked for, by the fleet's clock.
    pub at: Timestamp,
    /// The target's.
    pub target: Answer,
    /// Those of the storages that it is compared with.
    pub baseline: BTreeMap<StorageName, Answer>,
    /// Of the target's selectors, those that could be asked.
    pub freshness: Vec<Freshness>,
}

/// What was found out of gates while the fleet was read: each question tried once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GateFacts {
    /// By gate and target.
    pub answers: BTreeMap<(Address, StorageName), Answers>,
    /// What Prometheus warned of beside its answers, each once.
    pub warnings: Vec<String>,
}
