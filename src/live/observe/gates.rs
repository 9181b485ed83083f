//! Tries each gate's question once.

use std::sync::Mutex;

use futures::StreamExt as _;

use crate::apply::gate::answers;
use crate::apply::port::Ports;
use crate::model::{Answer, Answers, Observed};
use crate::plan::Check;

/// Questions at once.
const AT_ONCE: usize = 4;

/// Asks Prometheus each check once, where there is one, and notes what it says. When it stops answering, what is left is
/// not asked: each would only fail as slowly.
pub async fn ask_gates(ports: &Ports, observed: &mut Observed, checks: &[Check]) {
    let Some(metrics) = ports.metrics.as_deref().filter(|_| !checks.is_empty()) else { return };
    let at = ports.clock.now();
    let away: Mutex<Option<String>> = Mutex::new(None);
    let away_now = || away.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let ask = |check: &'_ Check| {
        let check = check.clone();
        let (away, why) = (&away, away_now);
        async move {
            let found = match why() {
                Some(why) => Answers {
                    at,
                    target: Answer::Failed(why),
                    baseline: std::collections::BTreeMap::new(),
                    freshness: Vec::new(),
                },
                None => answers(metrics, &check, at).await,
            };
            if let Answer::Failed(why) = &found.target {
                *away.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(why.clone());
            }
            ((check.gate, check.target), found)
        }
    };
    let asked: Vec<_> = futures::stream::iter(checks.iter().map(ask)).buffered(AT_ONCE).collect().await;
    observed.gates.answers = asked.into_iter().collect();
    observed.gates.warnings = metrics.warnings();
}
