//! The end of a run, in words: what was lost or set aside first, then the counts, then what to do next.

use std::fmt::Write as _;

use super::Style;
use super::text::{Paint, Table, duration, escape, prose, repositories};
use crate::apply::event::Summary;

/// Moves that ended with any verdict.
pub(super) fn verified(summary: &Summary) -> u64 {
    let Summary { attested, advanced, bracketed, unknown, .. } = summary;
    attested.saturating_add(*advanced).saturating_add(*bracketed).saturating_add(*unknown)
}

/// True when nothing is left to look at.
pub(super) fn is_clean(summary: &Summary) -> bool {
    let Summary {
        done: _,
        failed,
        // Counted as failed too.
        alarms: _,
        skipped,
        stale,
        not_started,
        refused,
        gates_closed,
        paused,
        attested: _,
        advanced: _,
        bracketed: _,
        unknown,
        whole: _,
        whole_unknown,
        moves_skipped,
        moves_moot,
        quarantined,
        lost,
        in_doubt,
        bytes: _,
        seconds: _,
        time: _,
        interrupted,
        remarks: _,
    } = summary;
    let open = [
        *failed,
        *skipped,
        *stale,
        *not_started,
        *refused,
        *gates_closed,
        *paused,
        *unknown,
        *quarantined,
        *lost,
        *in_doubt,
    ];
    open.iter().all(|n| *n == 0) && *whole_unknown == 0 && moves_skipped <= moves_moot && !interrupted
}

/// The end of a run as text.
pub fn summary(summary: &Summary, style: Style) -> String {
    let Summary {
        done,
        failed,
        alarms: _,
        skipped,
        stale,
        not_started,
        refused,
        gates_closed,
        paused,
        attested,
        advanced,
        bracketed,
        unknown,
        whole,
        whole_unknown,
        moves_skipped,
        moves_moot,
        quarantined,
        lost,
        in_doubt,
        bytes,
        seconds,
        time,
        interrupted,
        remarks,
    } = summary;
    let paint = Paint::new(style);
    let mut out = String::new();
    if *lost > 0 {
        let line = format!(
            "POSSIBLE LOSS: {} on the destination {} a reference that the source had when it was frozen.",
            repositories(*lost),
            if *lost == 1 { "lacks" } else { "lack" }
        );
        let _ = writeln!(out, "{}", paint.danger(&line));
        out.push_str(&prose(
            style,
            0,
            "Do not delete anything on the source's disk and do not run housekeeping there: what is missing may still be \
             recovered from it. `tranship quarantine list` names the repositories, with evidence and remedy.",
        ));
        out.push('\n');
    }
    let clean = is_clean(summary);
    let headline = if clean {
        "Apply complete."
    } else if *interrupted {
        "Apply interrupted."
    } else {
        "Apply ended in part."
    };
    let headline = if clean { paint.bold(headline) } else { paint.warning(headline) };
    let moved = verified(summary);
    let _ = write!(out, "{headline}");
    if moved > 0 {
        let _ = write!(out, " {} moved ({bytes})", repositories(moved));
    }
    let _ = writeln!(out, "{} {}.", if moved > 0 { " in" } else { " Took" }, duration(*seconds));

    let mut table = Table::new(style, &[1]);
    let mut rows = |title: &str, lines: &[(u64, &str, &str)]| {
        let mut title = paint.bold(title);
        for (number, word, meaning) in lines.iter().filter(|(n, _, _)| *n > 0) {
            table.row_with([std::mem::take(&mut title), number.to_string(), (*word).to_owned()], (*meaning).to_owned());
        }
    };
    rows(
        "Actions",
        &[
            (*done, "done", ""),
            (*failed, "failed", "see the lines above"),
            (*skipped, "skipped", "because an action that they depend on did not end well"),
            (*stale, "stale", "the fleet had changed since the plan; nothing was forced"),
            (*refused, "refused", "a storage was not proven empty"),
            (*gates_closed, "stopped", "a gate said no or could not be answered, or a hook failed"),
            (*paused, "paused", "they wait for something; the next apply goes on from there"),
            (*not_started, "not started", "or not finished when the run was stopped"),
        ],
    );
    rows(
        "Moves",
        &[
            (*attested, "attested", "source read while frozen, equal to the destination"),
            (*advanced, "advanced", "every frozen tip exists on the destination; pushes landed there since"),
            (
                *bracketed,
                "bracketed",
                "copied before the frozen source could be read; read before the move, equal to the destination",
            ),
            (*unknown, "unknown", "moved, but could not be compared: not a pass"),
            (*in_doubt, "in doubt", "how they ended could not be found out; the next apply asks again"),
            (moves_skipped.saturating_sub(*moves_moot), "skipped", "not made; the next plan has them again if needed"),
            (*moves_moot, "needless", "deleted meanwhile, or already in place"),
        ],
    );
    rows(
        "Checked",
        &[
            (*whole, "whole", "every object is on the destination, by Gitaly's own check"),
            (*whole_unknown, "unknown", "were to be checked so and could not be: not a pass"),
        ],
    );
    rows(
        "Set aside",
        &[
            (quarantined.saturating_sub(*lost), "quarantined", "not tried again until a person releases them"),
            (*lost, "quarantined", "POSSIBLE LOSS: a reference tip or an object is missing on the destination"),
        ],
    );
    out.push_str(&table.render(2));
    for line in super::hours::spent(time) {
        out.push_str(&prose(style, 2, &escape(&line)));
    }
    for remark in remarks {
        out.push_str(&prose(style, 2, &format!("{} {}", paint.warning("!"), escape(remark))));
    }
    let next = next(summary);
    if !next.is_empty() {
        let _ = writeln!(out, "\n{}", paint.bold("Next"));
        for line in next {
            out.push_str(&prose(style, 2, line));
        }
    }
    out
}

/// What to do next, a line each; commands stand alone on their lines.
fn next(summary: &Summary) -> Vec<&'static str> {
    let mut lines = Vec::new();
    if summary.quarantined > 0 {
        lines.push("- Follow each quarantined repository's remedy, then release it:");
        lines.push("    tranship quarantine list");
        lines.push("    tranship quarantine release ID");
    }
    if summary.unknown > 0 {
        lines.push("- Look at the moves with the verdict unknown above: compare source and destination by hand.");
    }
    if summary.refused > 0 {
        lines.push("- What is left on a storage that was refused stands above; see to it, then plan again.");
    }
    let undone =
        [summary.failed, summary.skipped, summary.stale, summary.not_started, summary.refused, summary.in_doubt];
    let skipped = summary.moves_skipped > summary.moves_moot;
    if summary.paused > 0 {
        lines.push("- Come back when it says above: what is paused goes on from there, and repeats nothing.");
    }
    if summary.interrupted || skipped || undone.iter().any(|n| *n > 0) {
        if summary.alarms > 0 {
            lines.push("- Do not apply again yet: another disk than the right one is behind a storage, as told above. Find the");
            lines.push("  volume that it had first. What there is to do then:");
            lines.push("    tranship plan");
        } else if summary.lost > 0 {
            lines.push("- Nothing more leaves a storage that may have lost something before that is released. Then:");
            lines.push("    tranship apply");
        } else if summary.gates_closed > 0 {
            lines.push(
                "- See to what the gate said, then run it again: it asks first, and repeats nothing that is done:",
            );
            lines.push("    tranship apply");
        } else {
            lines.push("- Run it again: it takes up from here and repeats nothing that is done:");
            lines.push("    tranship apply");
        }
    }
    if summary.done > 0 || summary.quarantined > 0 || verified(summary) > 0 {
        lines.push("- Put the state under version control:");
        lines.push("    git add tranship.state.json");
        lines.push("    git commit");
    }
    lines
}
