//! stub: views of plans, events, states and diagnostics. Only reads.
use crate::apply::event::{Event, Summary};
use crate::diag::{Diagnostics, SourceMap};
use crate::plan::Plan;
use crate::state::State;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours allowed.
    pub color: bool,
    /// Columns.
    pub width: usize,
    /// Standard error is a terminal: bars and redrawing allowed.
    pub tty: bool,
}
/// Diagnostics as text with snippets.
pub fn diagnostics(_d: &Diagnostics, _s: &SourceMap, _style: Style) -> String {
    String::new()
}
/// Diagnostics in the shape of `terraform validate -json`.
pub fn diagnostics_json(_d: &Diagnostics, _s: &SourceMap) -> String {
    String::new()
}
/// A plan as text; `verbose` lists every move.
pub fn plan(_p: &Plan, _style: Style, _verbose: bool) -> String {
    String::new()
}
/// A plan as JSON; carries everything the text shows.
pub fn plan_json(_p: &Plan) -> String {
    String::new()
}
/// A plan's graph for Graphviz.
pub fn graph_dot(_p: &Plan) -> String {
    String::new()
}
/// A plan's graph as JSON.
pub fn graph_json(_p: &Plan) -> String {
    String::new()
}
/// A state as text.
pub fn state(_s: &State, _style: Style) -> String {
    String::new()
}
/// The end of a run as text.
pub fn summary(_s: &Summary, _style: Style) -> String {
    String::new()
}
/// Consumes the events of a run.
pub trait View: Send {
    /// Takes one event; `at` is the fleet's clock.
    fn event(&mut self, event: &Event, at: jiff::Timestamp);
}
/// For people, on standard error: bars on a terminal, plain lines elsewhere.
pub fn people(_style: Style) -> Box<dyn View> {
    struct N;
    impl View for N {
        fn event(&mut self, _: &Event, _: jiff::Timestamp) {}
    }
    Box::new(N)
}
/// JSON lines on standard output, in the shape of Terraform's stream (`@level`, `@message`, `@module`, `@timestamp`, `type`).
pub fn json_lines() -> Box<dyn View> {
    people(Style { color: false, width: 80, tty: false })
}
