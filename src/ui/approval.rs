//! The question before an apply and its answer, both pure: `cli` asks and reads.

use std::fmt::Write as _;

use super::Overview;
use super::text::{self, escape};
use crate::plan::Plan;

/// The question before an apply.
pub fn approval_question(plan: &Plan) -> String {
    let overview = Overview::of(plan);
    let summary = &overview.summary;
    let mut out = format!("Carry this out in environment {}?\n  {}\n", escape(&plan.environment), summary.text);
    if let Some(estimate) = &overview.estimate {
        let _ = writeln!(
            out,
            "  About {}; each repository is read-only while it moves, {} at most.",
            estimate.elapsed.as_ref().unwrap_or(&estimate.duration),
            estimate.longest
        );
    }
    if summary.dangers > 0 {
        let _ = writeln!(
            out,
            "  {} under \"Danger\": read before you say yes.",
            text::count(summary.dangers, "line stands", "lines stand")
        );
    }
    if summary.quarantined > 0 {
        let _ = writeln!(
            out,
            "  {} in quarantine and left out.",
            text::count(summary.quarantined, "repository is", "repositories are")
        );
    }
    out.push_str("Answer yes, no, or details for every move: ");
    out
}

/// What was answered to [`approval_question`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Do nothing.
    No,
    /// Show every move, then ask again.
    Details,
}

/// Reads an answer; `None`: ask again (at the end of input the caller takes it for a no). Only a whole `yes` is one: a slip of a finger moves no repository.
pub fn parse_answer(typed: &str) -> Option<Answer> {
    match typed.trim().to_ascii_lowercase().as_str() {
        "yes" => Some(Answer::Yes),
        "no" | "n" => Some(Answer::No),
        "details" | "detail" | "d" => Some(Answer::Details),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_yes_is_one() {
        assert_eq!(parse_answer(" yes\n"), Some(Answer::Yes));
        assert_eq!(parse_answer("No"), Some(Answer::No));
        assert_eq!(parse_answer("details"), Some(Answer::Details));
        for again in ["", "y", "ye", "yes please", "ok"] {
            assert_eq!(parse_answer(again), None, "{again:?}");
        }
    }
}
