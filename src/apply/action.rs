//! The actions that are not moves: one weight, one proof that a storage is empty.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::event::Outcome;
use super::port::{Cursor, PortError, PortErrorKind, Ports};
use crate::model::{ContainerKind, MoveRecord, StorageName, Weight};

/// Between the two looks of a proof, by the fleet's clock. Long enough for what was under way at the first look (a fork,
/// an import, a deletion in Gitaly's queue) to show at the second; at ten times this a drain of many storages waits idle.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);
/// Pages of a family's moves that are looked through at most, and pages in a row without a live one that end the looking.
const LIVE_PAGES: u32 = 50;
const QUIET_PAGES: u32 = 10;
/// How often a read that fails in passing is repeated.
const TRIES: u32 = 3;

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
            // Written or not: the reading below tells.
            Err(e) if matches!(e.kind, PortErrorKind::Transient | PortErrorKind::Ambiguous) && attempt < TRIES => {
                ports.clock.sleep(Duration::from_secs(2)).await;
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

/// What one look at a storage found.
struct Look {
    left: Vec<String>,
    filesystem_id: String,
}

/// Finds a storage empty twice. Returns the outcome and, for a pass, the certificate's digest.
pub(crate) async fn prove_empty(ports: &Ports, storage: &StorageName) -> (Outcome, Option<String>) {
    let mut filesystem_id = None;
    for look in 1..=2 {
        if look == 2 {
            ports.clock.sleep(BETWEEN_LOOKS).await;
        }
        match look_at(ports, storage).await {
            Ok(Look { left, .. }) if !left.is_empty() => {
                return (Outcome::Refused { cause: left.join("; ") }, None);
            }
            Ok(Look { filesystem_id: id, .. }) => {
                if filesystem_id.as_ref().is_some_and(|first| *first != id) {
                    let cause = "another disk answered at the second look".to_owned();
                    return (Outcome::Refused { cause }, None);
                }
                filesystem_id = Some(id);
            }
            Err(e) => return (Outcome::Failed { cause: format!("unknown, which is not empty: {e}") }, None),
        }
    }
    // Without times, so that the same world gives the same certificate.
    let look = json!({ "gitlab": { "projects": 0, "snippets": 0, "group_wikis": 0, "moves": 0 }, "gitaly": { "repositories": 0 } });
    let certificate = json!({
        "storage": storage,
        "weight": 0,
        "filesystem_id": filesystem_id.unwrap_or_default(),
        "looks": [look, look],
    });
    let digest = hex::encode(Sha256::digest(certificate.to_string()));
    (Outcome::Done { detail: "found empty twice".into() }, Some(digest))
}

async fn look_at(ports: &Ports, storage: &StorageName) -> Result<Look, PortError> {
    let (gitlab, gitaly) = (&ports.gitlab, &ports.gitaly);
    let mut left = Vec::new();
    match gitlab.weights().await?.get(storage) {
        None | Some(&Weight::ZERO) => {}
        Some(weight) => left.push(format!("its weight is {weight} again")),
    }
    let projects = gitlab.list(ContainerKind::Project, storage, Cursor::START).await?.found;
    if let Some(first) = projects.first() {
        let more = if projects.len() > 1 { format!(" and {} more", projects.len() - 1) } else { String::new() };
        left.push(format!("GitLab lists {} ({}){more}", first.container, first.path));
    }
    for (kind, what) in [(ContainerKind::Snippet, "snippets"), (ContainerKind::GroupWiki, "group wikis")] {
        let count = count(ports, kind, storage).await?;
        if count > 0 {
            left.push(format!("GitLab lists {count} {what}"));
        }
    }
    for record in live_moves(ports).await? {
        if record.source == storage.as_str() || record.destination == storage.as_str() {
            left.push(format!("move {} of {} is {}", record.id, record.container, record.state));
        }
    }
    let walked = gitaly.walk(storage).await?;
    // While GitLab lists projects there, what Gitaly has is theirs as far as one look can tell.
    if let Some(first) = walked.first().filter(|_| projects.is_empty()) {
        let more = if walked.len() > 1 { format!(" and {} more", walked.len() - 1) } else { String::new() };
        left.push(format!("Gitaly has {first}{more}, which GitLab does not list there"));
    }
    let filesystem_id = gitaly.server(storage).await?.filesystem_id;
    Ok(Look { left, filesystem_id })
}

/// How many containers of a kind GitLab lists on a storage, each once.
async fn count(ports: &Ports, kind: ContainerKind, storage: &StorageName) -> Result<usize, PortError> {
    let (mut found, mut at) = (BTreeSet::new(), Some(Cursor::START));
    while let Some(cursor) = at {
        let page = ports.gitlab.list(kind, storage, cursor).await?;
        found.extend(page.found.into_iter().map(|r| r.container));
        at = page.next;
    }
    Ok(found.len())
}

/// All moves that have not ended, of all families. The lists have no filter by state and grow at the front: a live move
/// is looked for until so many moves in a row have ended.
async fn live_moves(ports: &Ports) -> Result<Vec<MoveRecord>, PortError> {
    let mut live = Vec::new();
    for kind in [ContainerKind::Project, ContainerKind::Snippet, ContainerKind::GroupWiki] {
        let mut quiet = 0;
        for page in 1..=LIVE_PAGES {
            let records = match ports.gitlab.moves(kind, page).await {
                Ok(records) => records,
                // An edition without that family.
                Err(e) if e.kind == PortErrorKind::NotFound && kind != ContainerKind::Project => break,
                Err(e) => return Err(e),
            };
            let last = records.len() < 100;
            let before = live.len();
            live.extend(records.into_iter().filter(|r| !r.state.is_terminal()));
            quiet = if live.len() == before { quiet + 1 } else { 0 };
            if last || quiet == QUIET_PAGES {
                break;
            }
        }
    }
    Ok(live)
}
