//! Asks one check of a gate and judges the answer: pass, fail or unknown, with the value that was seen.

use jiff::Timestamp;

use super::port::Ports;
use crate::plan::{Check, Verdict};

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// What was seen and what was allowed, in a line.
    pub(crate) why: String,
}

/// Asks Prometheus, once.
pub(crate) async fn ask(ports: &Ports, check: &Check, at: Timestamp) -> Judgement {
    let unknown = |why: String| Judgement { verdict: Verdict::Unknown, why };
    let Some(metrics) = &ports.metrics else { return unknown("there is no Prometheus to ask".to_owned()) };
    let series = match metrics.query(&check.query, at).await {
        Ok(series) => series,
        Err(error) => return unknown(error.to_string()),
    };
    let values: Vec<f64> = series.iter().filter_map(|one| one.points.last()).map(|(_, value)| *value).collect();
    if values.is_empty() || values.iter().any(|value| value.is_nan()) {
        return unknown("the query has no data".to_owned());
    }
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    match (check.max, check.min) {
        (Some(max), _) if most > max => {
            Judgement { verdict: Verdict::Fail, why: format!("{most}, at most {max} is allowed") }
        }
        (_, Some(min)) if least < min => {
            Judgement { verdict: Verdict::Fail, why: format!("{least}, at least {min} is asked for") }
        }
        _ => Judgement { verdict: Verdict::Pass, why: format!("{most}") },
    }
}
