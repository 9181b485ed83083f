//! The action that sets one weight.

use std::time::Duration;

use super::event::Outcome;
use super::port::{PortError, PortErrorKind, Ports};
use crate::model::{StorageName, Weight};

/// How often a read that fails in passing is repeated.
const TRIES: u32 = 5;

/// Sets one weight: reads the whole map, changes one entry, writes it, reads it back. Returns remarks beside the outcome.
pub(crate) async fn set_weight(
    ports: &Ports,
    storage: &StorageName,
    from: Weight,
    to: Weight,
) -> (Outcome, Vec<String>) {
    match try_set_weight(ports, storage, from, to).await {
        Ok(done) => done,
        Err(e) => (Outcome::Failed { cause: e.to_string() }, Vec::new()),
    }
}

async fn try_set_weight(
    ports: &Ports,
    storage: &StorageName,
    from: Weight,
    to: Weight,
) -> Result<(Outcome, Vec<String>), PortError> {
    let gitlab = &ports.gitlab;
    for attempt in 1..=TRIES {
        let before = gitlab.weights().await?;
        let Some(now) = before.get(storage).copied() else {
            return Ok((Outcome::Stale { cause: format!("GitLab does not list {storage} any more") }, Vec::new()));
        };
        if now == to {
            return Ok((Outcome::Done { detail: "it was so already".into() }, Vec::new()));
        }
        if now != from {
            let cause = format!("its weight is {now}, the plan was made when it was {from}");
            return Ok((Outcome::Stale { cause }, Vec::new()));
        }
        let mut wanted = before.clone();
        wanted.insert(storage.clone(), to);
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
            .filter(|(name, weight)| *name != storage && after.get(*name).is_some_and(|w| w != *weight))
            .map(|(name, weight)| {
                let now = after.get(name).copied().unwrap_or(Weight::ZERO);
                format!("the weight of {name} changed from {weight} to {now} while {storage} was set: somebody else wrote too; check it")
            })
            .collect();
        if after.get(storage) == Some(&to) {
            return Ok((Outcome::Done { detail: format!("{from} -> {to}") }, lost));
        }
    }
    let cause = format!("written {TRIES} times, and read back otherwise: something else writes GitLab's settings");
    Ok((Outcome::Failed { cause }, Vec::new()))
}
