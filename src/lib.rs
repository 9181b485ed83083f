//! tranship moves a GitLab installation's Git storage, Gitaly, from virtual machines to Kubernetes: plan, apply, verify,
//! record.
//!
//! ```text
//! *.hcl ──config──▶ Desired ─┐
//! live systems ─live─▶ Observed ─┼─plan─▶ Plan ──ui──▶ terminal, JSON
//! state file ──state─▶ State ────┘         │
//!                                          └─apply─▶ ports ─live─▶ GitLab, Gitaly, Kubernetes
//!                                              └─▶ journal ─▶ state file
//! ```
//!
//! One direction, no way back. A file imports only from lower layers or its own folder; a test holds that.
//!
//! | layer | module | holds |
//! | --- | --- | --- |
//! | 8 | [`cli`] | what was typed, wiring, exit codes |
//! | 7 | [`live`], `sandbox` | adapters that implement the ports over the wire; the embedded fleet. Neither imports the other |
//! | 6 | [`ui`] | views of plans, events, states and diagnostics; the only writer to streams beside `cli` |
//! | 5 | [`apply`] | the engine, the mover, verification, the ports' traits; the only caller of what changes the world |
//! | 4 | [`plan`] | pure: assignment, placement, waves, order, graph, preflight, estimate, policies, linter, the objects of pods |
//! | 3 | [`config`], [`state`] | HCL to [`model::Desired`]; the state file, its lock, the journal's and the inventory's files |
//! | 2 | [`model`] | typed names and quantities, desired, observed, addresses |
//! | 1 | [`diag`], [`expr`] | diagnostics with spans; values, expressions, evaluator, functions |
//!
//! Files read: `*.hcl` and variable files of the configuration's folder, files that secrets' references and `file()` name,
//! a saved plan, an inventory. Files written: `tranship.state.json`, `.tranship/state.lock`,
//! `.tranship/runs/<run>/journal`, `.tranship/durations.json`, `.tranship/approvals/<gate>.json`,
//! `.tranship/inventory/<environment>.jsonl` (and `.part` while it grows),
//! `.tranship/sandbox/<name>/`, what `--out` names, and the configurations that `fmt` formats.

pub mod apply;
pub mod cli;
pub mod config;
pub mod diag;
pub mod expr;
pub mod live;
pub mod model;
pub mod plan;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod state;
pub mod ui;

/// The generated part of Gitaly's wire protocol.
#[expect(missing_docs, clippy::all, reason = "generated code")]
#[cfg_attr(feature = "sandbox", expect(clippy::allow_attributes, reason = "generated code"))]
pub mod wire {
    tonic::include_proto!("gitaly");
}
