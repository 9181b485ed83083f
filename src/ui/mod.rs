//! Views of diagnostics, plans, graphs, states, events and summaries. Only reads.
//!
//! Everything here returns text, except for the two [`View`]s in `streams`, which write it. Texts make sense without
//! colour: words stand beside symbols, and the text with colour is the text without it plus escape codes. What users
//! of GitLab can choose (paths, reference names) is escaped before it reaches a terminal.
//!
//! | file | shows |
//! | --- | --- |
//! | `diagnostics` | errors and warnings with the lines at fault |
//! | `overview` | what a plan comes to, derived once for text and JSON |
//! | `plan`, `pods`, `graph` | a plan |
//! | `state` | a state and its records |
//! | `progress`, `streams` | a run as it goes |
//! | `metrics` | the same, for Prometheus |
//! | `summary` | the end of a run |
//! | `rotation` | a measured restart of a pod |
//! | `value`, `reference` | a value of the language; the language itself |
//! | `approval` | the question before it |
//! | `yaml` | values for files of others |
//! | `words`, `text` | closed sets in words; escaping, columns, durations |

mod approval;
mod diagnostics;
mod graph;
mod hours;
mod metrics;
mod overview;
mod plan;
mod pods;
mod progress;
pub mod reference;
mod release;
mod rotation;
mod state;
mod streams;
mod summary;
mod text;
mod value;
mod words;
mod yaml;

pub use approval::{Answer, approval_question, parse_answer};
pub use diagnostics::{diagnostics, diagnostics_json, failure};
pub use graph::{graph_dot, graph_json};
pub use metrics::Metrics;
pub use overview::{
    ConcurrencyRow, DrainRow, EstimateRow, ListedRow, MoveRef, NotPlannedRow, Overview, PlanSummary, RoomRow, Route,
    WaveRow, WeightRow,
};
pub use plan::{plan, plan_json};
pub use pods::{ChangedField, PodActionRow, PodClass, PodRow, PodTotals};
pub use progress::{Progress, Said};
pub use reference::{reference_markdown, topic, topic_json};
pub use rotation::{over as over_budget, rotation, rotation_json};
pub use state::{state, state_list, state_show};
pub use streams::{json_line, json_lines, people};
pub use summary::summary;
pub use text::eta;
pub use value::value;
pub use words::{Advice, Gravity};
pub use yaml::yaml;

use crate::apply::event::Event;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours allowed.
    pub color: bool,
    /// Columns of the terminal; used only when `tty` is set: a pipe gets whole lines, so that `grep` finds them.
    pub width: usize,
    /// Standard error is a terminal: bars and redrawing allowed, prose is broken at `width`.
    pub tty: bool,
}

/// Consumes the events of a run.
pub trait View: Send {
    /// Takes one event; `at` is the fleet's clock.
    fn event(&mut self, event: &Event, at: jiff::Timestamp);
}

/// JSON for people and machines: two-space indent, a final newline.
fn pretty(value: &impl serde::Serialize) -> String {
    match serde_json::to_string_pretty(value) {
        Ok(text) => text + "\n",
        // Maps with text keys and numbers only: this cannot happen, and is told rather than panicked about.
        Err(error) => format!("{{\"error\": {:?}}}\n", error.to_string()),
    }
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
