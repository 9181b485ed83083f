//! The actions that set weights.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::Outcome;
use super::port::{PortError, PortErrorKind, Ports};
use crate::model::{StorageName, Weight};
use crate::plan::WeightChange;

/// How often a read that fails in passing is repeated.
const TRIES: u32 = 5;

/// Sets weights, all at once: reads the whole map, changes these entries, writes it, reads it back. Returns remarks beside
/// the outcome.
pub(crate) async fn set_weights(
    ports: &Ports,
    changes: &BTreeMap<StorageName, WeightChange>,
) -> (Outcome, Vec<String>) {
    match try_set_weights(ports, changes).await {
        Ok(done) => done,
        Err(e) => (Outcome::Failed { cause: e.to_string() }, Vec::new()),
    }
}

async fn try_set_weights(
    ports: &Ports,
    changes: &BTreeMap<StorageName, WeightChange>,
) -> Result<(Outcome, Vec<String>), PortError> {
    let gitlab = &ports.gitlab;
    let names = || changes.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    for attempt in 1..=TRIES {
        let before = gitlab.weights().await?;
        let mut wanted = before.clone();
        for (storage, WeightChange { before: from, after: to }) in changes {
            let cause = match before.get(storage) {
                None => format!("GitLab does not list {storage} any more"),
                Some(now) if now != from && now != to => {
                    let whose =
                        if changes.len() == 1 { "its weight".to_owned() } else { format!("the weight of {storage}") };
                    format!("{whose} is {now}, the plan was made when it was {from}")
                }
                Some(_) => {
                    wanted.insert(storage.clone(), *to);
                    continue;
                }
            };
            return Ok((Outcome::Stale { cause }, Vec::new()));
        }
        if wanted == before {
            return Ok((Outcome::Done { detail: "it was so already".into() }, Vec::new()));
        }
        if wanted.values().all(|w| *w == Weight::ZERO) {
            let cause = "every storage would be at weight 0, and GitLab would fall back on one of its own choice";
            return Ok((Outcome::Failed { cause: cause.into() }, Vec::new()));
        }
        match gitlab.put_weights(&wanted).await {
            Ok(_) => {}
            // Written or not: the next reading tells.
            Err(e) if matches!(e.kind, PortErrorKind::Transient | PortErrorKind::Ambiguous) && attempt < TRIES => {
                ports.clock.sleep(Duration::from_secs(2)).await;
                continue;
            }
            Err(e) => return Err(e),
        }
        let after = gitlab.weights().await?;
        let lost: Vec<String> = before
            .iter()
            .filter(|(name, weight)| !changes.contains_key(*name) && after.get(*name).is_some_and(|w| w != *weight))
            .map(|(name, weight)| {
                let now = after.get(name).copied().unwrap_or(Weight::ZERO);
                let set = names();
                format!("the weight of {name} changed from {weight} to {now} while {set} was set: somebody else wrote too; check it")
            })
            .collect();
        if changes.iter().all(|(name, change)| after.get(name) == Some(&change.after)) {
            let detail: Vec<String> = match changes.len() {
                1 => changes.values().map(|c| format!("{} -> {}", c.before, c.after)).collect(),
                _ => changes.iter().map(|(name, c)| format!("{name} {} -> {}", c.before, c.after)).collect(),
            };
            return Ok((Outcome::Done { detail: detail.join(", ") }, lost));
        }
    }
    let cause = format!("written {TRIES} times, and read back otherwise: something else writes GitLab's settings");
    Ok((Outcome::Failed { cause }, Vec::new()))
}
