//! Several judgements as one verdict.

use std::collections::BTreeMap;

use super::Judgement;
use crate::plan::{Check, Verdict};

/// Several judgements as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// Fail beats unknown beats pass; what is a dry run decides nothing. Pass, if nothing decides.
    pub verdict: Verdict,
    /// A line for each, the worst first, dry runs last.
    pub lines: Vec<String>,
}

/// Makes one verdict of the judgements of several checks.
pub fn fold<'a>(asked: impl IntoIterator<Item = (&'a Check, &'a Judgement)>) -> Folded {
    let mut lines: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    let mut verdict = Verdict::Pass;
    for (check, Judgement { verdict: one, why }) in asked {
        if check.dry_run {
            let word = match one {
                Verdict::Pass => "it would hold",
                Verdict::Fail => "it would fail",
                Verdict::Unknown => "it would be unknown",
            };
            lines.entry(3).or_default().push(format!("{why} (dry run: {word})"));
            continue;
        }
        let rank = match one {
            Verdict::Fail => 0,
            Verdict::Unknown => 1,
            Verdict::Pass => 2,
        };
        lines.entry(rank).or_default().push(why.clone());
        verdict = match (verdict, *one) {
            (Verdict::Fail, _) | (_, Verdict::Fail) => Verdict::Fail,
            (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
            _ => Verdict::Pass,
        };
    }
    Folded { verdict, lines: lines.into_values().flatten().collect() }
}
