//! The proof that a storage is empty: found so twice, by GitLab's lists and by Gitaly's walk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::event::Outcome;
use super::port::{Cursor, PortError, PortErrorKind, PortResult, Ports};
use crate::model::{
    Container, ContainerKind, MoveRecord, MoveState, PathClass, Repository, RepositoryRole, StorageName, Weight,
    class_of, relative_path,
};
use crate::state::State;

/// Between the two looks of a proof, by the fleet's clock. Long enough for what was under way at the first look (a fork,
/// an import, a deletion in Gitaly's queue) to show at the second; at ten times this a drain of many storages waits idle.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);
/// How often a look is repeated that found nothing but object pools, a minute apart: GitLab deletes them by a background
/// job after their last member has left. At ten times this an orphan, which no job deletes, would hold an apply for hours.
const POOL_LOOKS: u32 = 15;
/// Pages of a family's moves that are looked through at most, and pages in a row without a live one that end the looking.
const LIVE_PAGES: u32 = 50;
const QUIET_PAGES: u32 = 10;

/// What one look at a storage found.
struct Look {
    left: Vec<String>,
    /// Object pools, which go by themselves.
    pools: Vec<String>,
    /// Gitaly's own temporary folders, which it clears away: told, and no part of the certificate.
    own: Vec<String>,
    /// Kinds of which GitLab has no list.
    unlisted: Vec<ContainerKind>,
    /// Every move was looked at, not the newest alone.
    all_moves: bool,
    filesystem_id: String,
}

/// Finds a storage empty twice. Returns the outcome and, for a pass, the certificate's digest. A stop ends the wait between
/// two looks. `waiting` is told what is waited for.
pub(crate) async fn prove_empty(
    ports: &Ports,
    storage: &StorageName,
    known: &Known,
    stop: &CancellationToken,
    waiting: impl Fn(String),
) -> (Outcome, Option<String>) {
    let mut first: Option<Look> = None;
    let mut patience = POOL_LOOKS;
    loop {
        let look = match look_at(ports, storage, known).await {
            Ok(look) => look,
            Err(e) => return (Outcome::Failed { cause: format!("unknown, which is not empty: {e}") }, None),
        };
        if !look.left.is_empty() {
            let lines = look.left.iter().cloned().chain(look.passing());
            return (Outcome::Refused { cause: lines.collect::<Vec<_>>().join("; ") }, None);
        }
        if let Some(pool) = look.pools.first() {
            let what = some(look.pools.len(), "object pool", "object pools", pool);
            if patience == 0 {
                let minutes = u64::from(POOL_LOOKS) * BETWEEN_LOOKS.as_secs() / 60;
                let cause = format!(
                    "only {what} left, which GitLab did not delete in {minutes} minutes: look for failed jobs \
                     `ObjectPool::Destroy` in Sidekiq; a pool that GitLab does not know any more is removed through Gitaly"
                );
                let lines: Vec<String> = std::iter::once(cause).chain(look.own()).collect();
                return (Outcome::Refused { cause: lines.join("; ") }, None);
            }
            patience -= 1;
            waiting(format!("{storage}: for GitLab's background job to delete {what}"));
            first = None;
            if is_stopped(ports, stop).await {
                return (Outcome::NotStarted, None);
            }
            continue;
        }
        let Some(before) = first else {
            first = Some(look);
            if is_stopped(ports, stop).await {
                return (Outcome::NotStarted, None);
            }
            continue;
        };
        if before.filesystem_id != look.filesystem_id {
            let cause = "another disk answered at the second look".to_owned();
            return (Outcome::Refused { cause }, None);
        }
        let digest = certificate(storage, &look);
        let alone: Vec<&str> = look.unlisted.iter().map(|kind| kind.plural()).collect();
        let mut detail = "found empty twice".to_owned();
        if !alone.is_empty() {
            detail = format!("{detail}; that it has no {}, Gitaly's walk alone says", alone.join(" and no "));
        }
        if !look.all_moves {
            let newest = u64::from(QUIET_PAGES) * 100;
            detail = format!("{detail}; moves were looked through until {newest} in a row had ended");
        }
        if let Some(own) = look.own() {
            detail = format!("{detail}; {own}");
        }
        return (Outcome::Done { detail }, Some(digest));
    }
}

impl Look {
    /// Says what there is that a storage need not be rid of to count as empty, a line for each class.
    fn passing(&self) -> impl Iterator<Item = String> {
        let pools = self.pools.first().map(|first| {
            let what = some(self.pools.len(), "object pool", "object pools", first);
            format!("Gitaly has {what}, which GitLab deletes by a background job after the last member has left")
        });
        pools.into_iter().chain(self.own())
    }

    /// Says how many folders of its own Gitaly has there.
    fn own(&self) -> Option<String> {
        let first = self.own.first()?;
        let what = some(self.own.len(), "temporary folder of its own", "temporary folders of its own", first);
        Some(format!("Gitaly has {what}, which it clears away itself"))
    }
}

/// Waits until the next look; true: the run stops.
async fn is_stopped(ports: &Ports, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => true,
        () = ports.clock.sleep(BETWEEN_LOOKS) => false,
    }
}

/// The digest of what was found. Without times, so that the same world gives the same certificate.
fn certificate(storage: &StorageName, look: &Look) -> String {
    let mut lists: BTreeMap<&str, Value> =
        BTreeMap::from([("moves", if look.all_moves { json!(0) } else { Value::Null })]);
    for (kind, name) in ContainerKind::ALL.into_iter().zip(["projects", "snippets", "group_wikis"]) {
        lists.insert(name, if look.unlisted.contains(&kind) { Value::Null } else { json!(0) });
    }
    let found = json!({ "gitlab": lists, "gitaly": { "repositories": 0 } });
    let certificate = json!({
        "storage": storage,
        "weight": 0,
        "filesystem_id": look.filesystem_id,
        "looks": [found, found],
    });
    hex::encode(Sha256::digest(certificate.to_string()))
}

async fn look_at(ports: &Ports, storage: &StorageName, known: &Known) -> PortResult<Look> {
    let (gitlab, gitaly) = (&ports.gitlab, &ports.gitaly);
    let (mut left, mut unlisted, mut occupied) = (Vec::new(), Vec::new(), Vec::new());
    match gitlab.weights().await?.get(storage) {
        None | Some(&Weight::ZERO) => {}
        Some(weight) => left.push(format!("its weight is {weight} again")),
    }
    // It says of a snippet without a repository that it is on some storage, another each time it is asked.
    let doubtful = gitlab.version().await?.enterprise == Some(false);
    for kind in ContainerKind::ALL {
        match first_of(ports, kind, storage, doubtful && kind != ContainerKind::Project).await {
            Ok(None) => {}
            Ok(Some(first)) => {
                left.push(format!("GitLab still lists {}, {} ({}) first", kind.plural(), first.container, first.path));
                occupied.push(kind);
            }
            Err(e) if e.kind == PortErrorKind::NotFound && kind != ContainerKind::Project => unlisted.push(kind),
            Err(e) => return Err(e),
        }
    }
    let (live, failed, all_moves) = recent_moves(ports, storage).await?;
    // What lies there of one of these comes or goes with it.
    let mut passing = BTreeSet::new();
    for record in live {
        if record.source == storage.as_str() || record.destination == storage.as_str() {
            left.push(format!("move {} of {} is {}", record.id, record.container, record.state));
            let roles = RepositoryRole::of(record.container.kind);
            passing.extend(roles.iter().map(|role| relative_path(record.container, *role)));
        }
    }
    let (mut pools, mut own, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for path in gitaly.walk(storage).await? {
        match class_of(&path) {
            PathClass::Pool => pools.push(path),
            PathClass::Own => own.push(path),
            PathClass::Container(_) | PathClass::Other => others.push(path),
        }
    }
    // While GitLab lists a kind there, what Gitaly has of it is theirs as far as one look can tell.
    let lost = |path: &&String| !matches!(class_of(path), PathClass::Container(kind) if occupied.contains(&kind));
    let others: Vec<&String> = others.iter().filter(lost).filter(|path| !passing.contains(*path)).collect();
    left.extend(known.leftovers(&failed, &others));
    left.extend(known.held(&occupied));
    let filesystem_id = gitaly.server(storage).await?.filesystem_id;
    Ok(Look { left, pools, own, unlisted, all_moves, filesystem_id })
}

/// `3 object pools (@pools/… first)`.
fn some(number: usize, one: &str, many: &str, first: &str) -> String {
    if number == 1 { format!("1 {one} ({first})") } else { format!("{number} {many} ({first} first)") }
}

/// What the state knows of a storage that is to be proven empty.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// Set aside on their way off it.
    set_aside: BTreeSet<Container>,
    /// Moved off it, and GitLab left the copy.
    left: BTreeSet<Container>,
}

impl Known {
    pub(crate) fn of(state: &State, storage: &StorageName) -> Self {
        let set_aside = state.quarantined().filter(|(_, record)| record.source == *storage);
        Self {
            set_aside: set_aside.map(|(container, _)| container).collect(),
            left: state.storage(storage).map(|record| record.left.clone()).unwrap_or_default(),
        }
    }

    /// Says what was set aside on its way off the storage and lives elsewhere by now: what it lacks there may be left on
    /// this disk. Of kinds that GitLab still lists here, any may be among those.
    fn held(&self, occupied: &[ContainerKind]) -> Option<String> {
        let mut gone = self.set_aside.iter().filter(|container| !occupied.contains(&container.kind));
        let first = gone.next()?;
        let what = some(1 + gone.count(), "repository", "repositories", &first.to_string());
        Some(format!("{what} in quarantine on the way off it: `tranship quarantine list` says what to do"))
    }

    /// Says what repositories are that Gitaly has and GitLab does not list, by class: how many, the first, what to do.
    fn leftovers(&self, failed: &BTreeSet<Container>, paths: &[&String]) -> Vec<String> {
        let mut whose: BTreeMap<String, (bool, Container)> = BTreeMap::new();
        let left = self.left.union(failed).map(|container| (false, *container));
        for (is_set_aside, container) in left.chain(self.set_aside.iter().map(|container| (true, *container))) {
            for role in RepositoryRole::of(container.kind) {
                whose.insert(relative_path(container, *role), (is_set_aside, container));
            }
        }
        let (mut copies, mut held, mut orphans) = (Vec::new(), Vec::new(), Vec::new());
        for path in paths {
            match whose.get(*path) {
                Some((true, container)) => held.push(container.to_string()),
                Some((false, container)) => copies.push(container.to_string()),
                None => orphans.push((*path).clone()),
            }
        }
        let mut lines = Vec::new();
        if let Some(first) = copies.first() {
            let what = some(copies.len(), "copy", "copies", first);
            lines.push(format!(
                "Gitaly has {what} that moves left (`cleanup failed`): remove them there through Gitaly"
            ));
        }
        if let Some(first) = held.first() {
            let what = some(held.len(), "repository", "repositories", first);
            lines.push(format!("Gitaly has {what} of what was set aside"));
        }
        if let Some(first) = orphans.first() {
            let what = some(orphans.len(), "repository", "repositories", first);
            lines.push(format!(
                "Gitaly has {what}, and GitLab lists nothing of the kind there: find out what each is before it is removed"
            ));
        }
        lines
    }
}

/// The first container of a kind that GitLab lists on a storage; of `doubtful` ones, that Gitaly has there too.
async fn first_of(
    ports: &Ports,
    kind: ContainerKind,
    storage: &StorageName,
    doubtful: bool,
) -> PortResult<Option<Repository>> {
    let mut at = Some(Cursor::START);
    while let Some(cursor) = at {
        let page = ports.gitlab.list(kind, storage, cursor).await?;
        for first in page.found {
            let path = relative_path(first.container, RepositoryRole::Main);
            if !doubtful || ports.gitaly.exists(storage, &path).await? {
                return Ok(Some(first));
            }
        }
        at = page.next;
    }
    Ok(None)
}

/// All moves that have not ended, of all families, and containers of those that left a copy on the storage. The lists have
/// no filter by state and grow at the front: a live move is looked for until so many moves in a row have ended. Last: whether
/// that were all.
async fn recent_moves(
    ports: &Ports,
    storage: &StorageName,
) -> Result<(Vec<MoveRecord>, BTreeSet<Container>, bool), PortError> {
    let (mut live, mut left, mut all) = (Vec::new(), BTreeSet::new(), true);
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
            let here = records.iter().filter(|r| r.state == MoveState::CleanupFailed && r.source == storage.as_str());
            left.extend(here.map(|r| r.container));
            live.extend(records.into_iter().filter(|r| !r.state.is_terminal()));
            quiet = if live.len() == before { quiet + 1 } else { 0 };
            if last {
                break;
            }
            if quiet == QUIET_PAGES || page == LIVE_PAGES {
                all = false;
                break;
            }
        }
    }
    Ok((live, left, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_by_class() {
        let project = |id| Container { kind: ContainerKind::Project, id };
        let at = |id| relative_path(project(id), RepositoryRole::Main);
        let known = Known { set_aside: BTreeSet::from([project(2)]), left: BTreeSet::from([project(1)]) };
        let paths = [at(1), at(2), at(3), at(4), "web/odd.git".to_owned()];
        let lines = known.leftovers(&BTreeSet::from([project(3)]), &paths.iter().collect::<Vec<_>>());
        let orphans = format!("2 repositories ({} first)", at(4));
        let begins = [
            "Gitaly has 2 copies (project-1 first) that moves left (`cleanup failed`)".to_owned(),
            "Gitaly has 1 repository (project-2) of what was set aside".to_owned(),
            format!("Gitaly has {orphans}, and GitLab lists nothing of the kind there"),
        ];
        assert_eq!(lines.len(), begins.len());
        for (line, begin) in lines.iter().zip(begins) {
            assert!(line.starts_with(&begin), "{line}");
        }
        let held = |occupied: &[ContainerKind]| known.held(occupied);
        let told =
            "1 repository (project-2) in quarantine on the way off it: `tranship quarantine list` says what to do";
        assert_eq!(held(&[ContainerKind::Snippet]).as_deref(), Some(told), "wherever it lives");
        assert_eq!(held(&[ContainerKind::Project]), None, "it may be what GitLab lists");
        assert_eq!(Known::default().leftovers(&BTreeSet::new(), &[]), Vec::<String>::new());
    }
}
