//! A plan as text and as JSON. Short by default; every line that names an action or a repository is complete on its
//! own, so that `grep ADDRESS` finds it.

mod limits;
mod noted;
mod work;

use std::fmt::Write as _;

use serde::Serialize;

use super::Style;
use super::overview::{ListedRow, Overview};
use super::text::{Paint, escape, escape_lines, prose};
use crate::model::Address;
use crate::plan::{Level, Plan};

/// Rows of a table that are shown without `-v`.
const ROWS: usize = 20;
/// Fields of an object, and lines of one of them, that are shown without `-v`.
const FIELDS: usize = 10;
/// Moves of a route that are shown without `-v`.
const MOVES: usize = 5;
/// Moves that are shown without `-v` in all.
const MOVES_IN_ALL: usize = 20;

/// A plan as text; `verbose` lists every move, every weight and what the plan was made from.
pub fn plan(plan: &Plan, style: Style, verbose: bool) -> String {
    let Overview { summary, listed, pods, weights, routes, waves, windows, freeze, rooms, release, .. } =
        &Overview::of(plan);
    let Overview { drains, not_planned, concurrency, estimate, next, .. } = &Overview::of(plan);
    // Every field is named, so that a new one cannot be forgotten.
    let Plan {
        format: _, // the JSON's
        environment,
        as_of,
        listed: _, // with its age, in the overview
        basis,
        actions: _, // by their kinds, in the overview
        edges: _,   // `tranship graph`
        moves: _,   // by route
        drift,
        findings,
        report: _, // in words: `not_planned`
        quarantined,
        weights: _,  // in the overview
        storages: _, // `rooms`
        placement,
        max_moves: _,   // in the estimate
        concurrency: _, // in words
        windows: _,     // in the overview
        freeze: _,      // in the overview
        source_fsck: _,
        hooks: _, // `release`
        durations: _,
        estimate: _, // in words
        policies,
        samples: _, // with the waves
        renames,
    } = plan;
    let mut page = Page { out: String::new(), paint: Paint::new(style), style, verbose };
    let headline = page.paint.bold(&summary.text);
    let _ = writeln!(page.out, "{headline}");
    let bare = plan.is_empty()
        && not_planned.is_empty()
        && quarantined.is_empty()
        && drift.is_empty()
        && findings.is_empty()
        && policies.is_empty()
        && listed.is_none();
    if bare && !verbose {
        return page.out;
    }
    let _ = writeln!(page.out, "Environment {}.", escape(environment));
    if let Some(ListedRow { text, age_seconds: _ }) = listed {
        page.out.push_str(&prose(style, 0, text));
    }
    page.quarantined(quarantined);
    page.drift(drift);
    page.renames(renames);
    page.findings("Danger", findings.iter().filter(|f| f.level != Level::Notice));
    page.pods(pods);
    page.probes(&release.probes);
    page.ramp(&release.ramp);
    page.weights(weights);
    page.routes(plan, routes);
    page.waves(waves);
    page.windows(windows);
    page.freeze(freeze.as_ref());
    page.holds(&release.holds);
    page.hooks(&release.hooks);
    page.rooms(rooms);
    page.placement(placement);
    page.drains(drains);
    page.not_planned(not_planned);
    page.policies(policies);
    page.concurrency(concurrency.as_ref());
    page.estimate(estimate.as_ref());
    page.findings("Notices", findings.iter().filter(|f| f.level == Level::Notice));
    if verbose {
        page.basis(basis, *as_of);
    }
    let _ = writeln!(page.out, "\n{headline}");
    for line in next {
        page.out.push_str(&prose(style, 0, line));
    }
    if !verbose && routes.iter().any(|r| r.repositories > 0) {
        page.out.push_str("`-v` lists every move.\n");
    }
    page.out
}

/// The text as it grows.
pub(super) struct Page {
    pub(super) out: String,
    pub(super) paint: Paint,
    pub(super) style: Style,
    pub(super) verbose: bool,
}

impl Page {
    pub(super) fn heading(&mut self, title: &str, rest: &str) {
        let title = self.paint.bold(title);
        let _ = writeln!(self.out, "\n{title}{rest}");
    }

    /// How many rows of a table are shown.
    pub(super) fn shown(&self, rows: usize) -> usize {
        if self.verbose { rows } else { rows.min(ROWS) }
    }

    pub(super) fn more(&mut self, left: usize, what: &str) {
        if left > 0 {
            let _ = writeln!(self.out, "    and {left} more {what} (`-v` lists all)");
        }
    }

    fn help(&mut self, indent: usize, help: &str) {
        if !help.is_empty() {
            self.out.push_str(&prose(
                self.style,
                indent,
                &format!("what to do: {}", escape_lines(help).replace('\n', "\n  ")),
            ));
        }
    }

    pub(super) fn address(&self, address: &Address) -> String {
        self.paint.change(&escape(&address.to_string()))
    }

    pub(super) fn reason(&self, reason: &str) -> String {
        if reason.is_empty() { String::new() } else { self.paint.dim(&format!("# {}", escape(reason))) }
    }
}

/// The plan with what the text derives of it. Fields of the plan stand at the top level, under their own names.
#[derive(Serialize)]
struct Json<'a> {
    format_version: &'static str,
    /// An apply would do something and may begin.
    applyable: bool,
    /// Nothing to do.
    empty: bool,
    #[serde(flatten)]
    plan: &'a Plan,
    overview: Overview,
}

/// A plan as JSON; carries everything the text shows: the plan itself, and `overview` with the text's groups.
pub fn plan_json(plan: &Plan) -> String {
    super::pretty(&Json {
        format_version: "1.0",
        applyable: !plan.is_empty() && !plan.is_blocked(),
        empty: plan.is_empty(),
        plan,
        overview: Overview::of(plan),
    })
}
