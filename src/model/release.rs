//! How moves are released, as the configuration says it: gates, hooks, windows, the freeze budget, concurrency.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Address, SecretRef, StorageName};
use crate::diag::Span;
use crate::expr::Expression;

/// The `prometheus` block: where gates ask.
#[derive(Debug, Clone)]
pub struct PrometheusConnection {
    /// Without `/api/v1`.
    pub url: String,
    /// A bearer token.
    pub token: Option<SecretRef>,
    /// A PEM file with a private CA.
    pub ca: Option<String>,
    /// Where the block stands.
    pub span: Span,
}

/// One `gate` block, or one instance of it.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Where it is declared.
    pub address: Address,
    /// What it asks.
    pub question: Question,
    /// The block.
    pub span: Span,
}

/// What a gate asks, and whom.
#[derive(Debug, Clone)]
pub enum Question {
    /// Prometheus.
    Metrics(Box<MetricsQuestion>),
    /// A person.
    Approval,
}

/// A question for Prometheus, asked for each storage that a step touches.
#[derive(Debug, Clone)]
pub struct MetricsQuestion {
    /// PromQL; its one free name is `target`.
    pub query: Expression,
    /// The answer must not be above.
    pub max: Option<f64>,
    /// The answer must not be below.
    pub min: Option<f64>,
    /// Seconds that it must have held; 0: now is enough.
    pub for_seconds: u64,
    /// Storages whose answers in the same minutes it is compared with.
    pub baseline: Vec<StorageName>,
    /// Answer over baseline must not be above; with `baseline` only.
    pub max_ratio: Option<f64>,
    /// Asked and told, but decides nothing.
    pub dry_run: bool,
    /// Seconds between two questions; at least 1.
    pub interval_seconds: u64,
    /// Seconds after which an answer that is still unknown pauses the run.
    pub deadline_seconds: u64,
}

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookEvent {
    /// Before the first move of a wave off a storage; its failure keeps the wave from beginning.
    WaveStart,
    /// When a wave off a storage has ended well.
    WaveDone,
    /// When a gate said no or could not be answered by its deadline.
    Gate,
    /// When a move failed for good.
    MoveFailed,
    /// When a repository was set aside.
    Quarantine,
    /// When a move ended in a dead end that only GitLab's console leaves: a hook that ends with 0 has run the remedy.
    DeadEnd,
    /// When a storage was proven empty.
    DrainProven,
}

impl HookEvent {
    /// All of them, as they are written.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::WaveStart, "wave-start"),
        (Self::WaveDone, "wave-done"),
        (Self::Gate, "gate"),
        (Self::MoveFailed, "move-failed"),
        (Self::Quarantine, "quarantine"),
        (Self::DeadEnd, "dead-end"),
        (Self::DrainProven, "drain-proven"),
    ];

    /// Reads one as it is written.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(event, _)| *event)
    }
}

impl fmt::Display for HookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(event, _)| event == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

/// One `hook` block: a program of the operator's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The block's label.
    pub name: String,
    /// The program and its arguments; a relative path begins at the configuration's folder.
    pub exec: Vec<String>,
    /// When it runs; beside that, where `rollout.backup` names it, before each wave.
    pub on: BTreeSet<HookEvent>,
    /// Seconds after which it is ended and has failed.
    pub timeout_seconds: u64,
}

/// A time that comes again: the content of a `window` block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    /// Days it begins on, 0 for Monday to 6 for Sunday.
    pub days: BTreeSet<u8>,
    /// When it begins: minutes after midnight, by the clock of its time zone.
    pub start: u16,
    /// When it ends; at or before `start`: on the next day, so that the same as `start` is a whole day.
    pub end: u16,
    /// An IANA time zone.
    pub timezone: String,
}

/// One `window` block.
#[derive(Debug, Clone)]
pub struct Window {
    /// The block's label.
    pub name: String,
    /// When it is open.
    pub hours: Hours,
    /// The block.
    pub span: Span,
}

/// The `freeze` block: read-only time that users may be made to bear.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freeze {
    /// Seconds that one repository may be read-only.
    pub per_repository: Option<u64>,
    /// Seconds in one day, summed over the repositories of one top-level group.
    pub per_day: Option<u64>,
    /// The window for what would exceed `per_repository`; without one it is refused.
    pub window: Option<String>,
    /// The block.
    pub span: Option<Span>,
}

/// How many moves run at once is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Not: the declared limits are the slots.
    #[default]
    Fixed,
    /// From one slot up, slowly, and quickly back.
    Gentle,
    /// From half of the declared limits.
    Balanced,
    /// From the declared limits down: for a window in which nobody else works.
    Window,
}

impl Profile {
    /// All of them, as they are written.
    pub const NAMES: &'static [&'static str] = &["fixed", "gentle", "balanced", "window"];

    /// Reads one as it is written.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "fixed" => Some(Self::Fixed),
            "gentle" => Some(Self::Gentle),
            "balanced" => Some(Self::Balanced),
            "window" => Some(Self::Window),
            _ => None,
        }
    }
}

/// The `concurrency` block.
#[derive(Debug, Clone, Default)]
pub struct Concurrency {
    /// How slots are found.
    pub profile: Profile,
    /// Gates that are asked while moves run: good, one slot more; bad, half; unknown, none more.
    pub signals: Vec<Address>,
    /// Seconds between two decisions; `None`: the profile's.
    pub interval_seconds: Option<u64>,
    /// Seconds after which signals that are still unknown pause the run; `None`: the profile's.
    pub deadline_seconds: Option<u64>,
    /// While one of them holds, nothing new is scheduled anywhere.
    pub vetoes: Vec<Veto>,
}

/// One `veto` of the `concurrency` block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veto {
    /// The block's label.
    pub name: String,
    /// What holds it.
    pub source: VetoSource,
}

/// What holds a veto.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VetoSource {
    /// PromQL: any element with a value other than 0 holds it.
    Query(String),
    /// An address that is read by GET: an answer 200 lets go, everything else holds it.
    Url(String),
    /// A file, from the configuration's folder: while it is there, it holds; its first line is the reason.
    File(String),
}

/// Whether sources are checked to be whole before they move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceFsck {
    /// Not.
    #[default]
    None,
    /// One in a hundred, drawn by the id.
    Sample,
    /// All.
    All,
}
