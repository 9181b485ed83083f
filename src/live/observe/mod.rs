//! One reading of the whole fleet, through the ports alone: servers and disks, GitLab's settings and moves (here), its
//! lists (`lists`, page by page in `pages`), the sizes and object pools that they lack (`sizes`, `pools`), and what gates
//! are answered (`gates`).

mod gates;
mod lists;
mod pages;
mod pools;
mod sizes;

pub use gates::ask_gates;
pub use pools::ask_pools;
pub use sizes::measure;

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use futures::future::{join, join_all};

use super::cluster;
use crate::apply::port::{PortError, PortErrorKind, PortResult, Ports, Version};
use crate::model::{
    ContainerKind, DiskSpace, GateFacts, GitlabFacts, ListFacts, Listed, MoveRecord, Observed, Reading, Repository,
    ServerFacts, StorageFacts, StorageName,
};
use crate::plan::pods::Wanted;
use crate::state::inventory::{Draft, Inventory, Origin};

/// Storages read at once, two small calls to the server of each.
const STORAGES_AT_ONCE: usize = 8;
/// Walks at once: each reads a whole disk's directories on its server.
const WALKS_AT_ONCE: usize = 4;
/// GitLab's lists of moves know no filter by state, so the newest are read until only ended ones come. 20 pages are the
/// newest 2,000 moves of a family.
const MOST_MOVE_PAGES: u32 = 20;
/// Moves end in another order than they began: one page of ended moves may lie before older, slower ones.
const QUIET_PAGES: u32 = 2;

/// What to read.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// All declared storages: server, disk.
    pub declared: Vec<StorageName>,
    /// Those whose repositories are listed (an assignment takes from them, or they drain).
    pub listed: Vec<StorageName>,
    /// Draining ones: walked when GitLab lists nothing on them any more.
    pub draining: Vec<StorageName>,
    /// The full path of the project that probes are made with.
    pub probe: Option<String>,
    /// What the configuration wants in the cluster; nothing of it is read where no storage is a pod.
    pub pods: Wanted,
}

/// Where the lists of repositories come from.
pub enum Lists<'a> {
    /// From GitLab.
    Read {
        /// Where every page is written down as it comes.
        draft: Option<&'a Draft>,
        /// Told of how far it is.
        tell: &'a (dyn Fn(Progress) + Send + Sync),
    },
    /// From an earlier reading. Weights, servers, disks and moves under way are read all the same.
    Known(Inventory),
    /// Nowhere: only the rest is wanted.
    Skip,
}

/// How far the reading of the lists is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Repositories listed so far.
    pub repositories: u64,
    /// Lists read to their end.
    pub lists: usize,
    /// Of so many: one for each storage and kind.
    pub of: usize,
}

/// Reads the fleet through the ports, with bounded concurrency. What can be unknown is; what cannot (GitLab's
/// version, settings, lists) is an error.
///
/// A move that never ends can lie deeper than the newest 2,000 of its family, or below two pages of ended ones: it is
/// not seen here, but is looked for again before its container is moved.
///
/// # Errors
/// The first call that failed for good; all of them, in a fixed order.
pub async fn observe(ports: &Ports, request: &Request) -> Result<Observed, Vec<PortError>> {
    observe_with(ports, request, Lists::Read { draft: None, tell: &|_| {} }).await
}

/// As [`observe`], with the lists from wherever they are to come.
///
/// # Errors
/// As [`observe`].
pub async fn observe_with(ports: &Ports, request: &Request, lists: Lists<'_>) -> Result<Observed, Vec<PortError>> {
    let known = !matches!(lists, Lists::Skip);
    let as_of = ports.clock.now();
    let declared: BTreeSet<_> = request.declared.iter().chain(&request.listed).chain(&request.draining).collect();
    let (pods, others): (Vec<_>, Vec<_>) =
        declared.into_iter().partition(|storage| request.pods.storages.contains_key(*storage));
    let gitalys = async { Ok(read_storages(ports, others).await) };
    let cluster = async {
        if pods.is_empty() {
            return Ok((None, Vec::new()));
        }
        let looked = cluster::look(ports, &request.pods).await;
        // A pod that was never made is not asked: that it does not answer would only be found out slowly.
        let lives = |storage: &&StorageName| looked.as_ref().map_or(true, |looked| looked.lives(storage));
        let (living, absent): (Vec<_>, Vec<_>) = pods.into_iter().partition(lives);
        let (facts, mut found) = join(
            async {
                match &looked {
                    Ok(looked) => Reading::Known(looked.ask(ports, &request.pods).await),
                    Err(why) => Reading::Unknown(why.clone()),
                }
            },
            read_storages(ports, living),
        )
        .await;
        let unmade = || "its pod does not exist yet".to_owned();
        found.extend(absent.into_iter().map(|storage| {
            let (server, disk) = (Reading::Unknown(unmade()), Reading::Unknown(unmade()));
            (storage.clone(), StorageFacts { server, disk, walk: None })
        }));
        Ok((Some(facts), found))
    };
    // An error of GitLab's ends the reading at once, however slow the Gitalys are.
    let (storages, gitlab, (cluster, of_pods)) =
        futures::future::try_join3(gitalys, read_gitlab(ports, request, lists), cluster).await?;
    let mut storages: BTreeMap<StorageName, StorageFacts> = storages.into_iter().chain(of_pods).collect();
    let Facts { gitlab, repositories, lists, listed, moves } = gitlab;

    let occupied: BTreeSet<_> = repositories.iter().map(|r| &r.storage).collect();
    let empty: BTreeSet<_> = request.draining.iter().filter(|s| known && !occupied.contains(s)).cloned().collect();
    let walks = futures::stream::iter(empty.into_iter().map(|storage| {
        let server = storages.get(&storage).map(|facts| &facts.server);
        async move {
            let walk = match server {
                // It would only fail again, and slowly.
                Some(Reading::Unknown(reason)) => Reading::Unknown(reason.clone()),
                _ => reading(ports.gitaly.walk(&storage).await),
            };
            (storage, walk)
        }
    }))
    .buffered(WALKS_AT_ONCE)
    .collect::<Vec<_>>()
    .await;
    for (storage, walk) in walks {
        if let Some(facts) = storages.get_mut(&storage) {
            facts.walk = Some(walk);
        }
    }
    let probe = match &request.probe {
        Some(path) => Some(match ports.gitlab.project(path).await {
            Ok(Some(project)) => Reading::Known(project),
            Ok(None) => Reading::Unknown("GitLab shows no such project".to_owned()),
            Err(error) => Reading::Unknown(reason(&error)),
        }),
        None => None,
    };
    let (pools, gates) = (BTreeMap::new(), GateFacts::default());
    Ok(Observed { as_of, gitlab, storages, repositories, lists, pools, listed, cluster, moves, gates, probe })
}

pub(super) fn reading<T>(result: PortResult<T>) -> Reading<T> {
    match result {
        Ok(fact) => Reading::Known(fact),
        Err(error) => Reading::Unknown(reason(&error)),
    }
}

pub(super) fn reason(error: &PortError) -> String {
    match &error.help {
        Some(help) => format!("{error}. {help}"),
        None => error.to_string(),
    }
}

async fn read_storages(ports: &Ports, storages: Vec<&StorageName>) -> Vec<(StorageName, StorageFacts)> {
    let reads = storages.into_iter().map(|storage| read_storage(ports, storage));
    futures::stream::iter(reads).buffered(STORAGES_AT_ONCE).collect().await
}

async fn read_storage(ports: &Ports, storage: &StorageName) -> (StorageName, StorageFacts) {
    let (server, disk) = join(ports.gitaly.server(storage), ports.gitaly.disk(storage)).await;
    let server: Reading<ServerFacts> = reading(server);
    let disk: Reading<DiskSpace> = match disk {
        Ok(Some(space)) => Reading::Known(space),
        Ok(None) => Reading::Unknown("the server could not find out how full its disk is (it said 0 and 0)".to_owned()),
        Err(error) => Reading::Unknown(reason(&error)),
    };
    (storage.clone(), StorageFacts { server, disk, walk: None })
}

/// What GitLab says.
struct Facts {
    gitlab: GitlabFacts,
    repositories: Vec<Repository>,
    lists: BTreeMap<StorageName, ListFacts>,
    listed: Option<Listed>,
    moves: Vec<MoveRecord>,
}

async fn read_gitlab(ports: &Ports, request: &Request, lists: Lists<'_>) -> Result<Facts, Vec<PortError>> {
    let gitlab = &ports.gitlab;
    // One after the other: when GitLab cannot be reached, one error says it; and no list is believed before the
    // settings have proven an administrator's rights.
    let version = gitlab.version().await.map_err(|e| vec![e])?;
    let (token, weights) = join(gitlab.token(), gitlab.weights()).await;
    let weights = weights.map_err(|e| vec![e])?;

    // Before the lists, so that it is known which of them change while they are read.
    let families = join_all(ContainerKind::ALL.map(|kind| moves_in_flight(ports, kind))).await;
    let mut errors = Vec::new();
    let mut moves = BTreeMap::new();
    for result in families {
        match result {
            Ok(found) => moves.extend(found.into_iter().map(|m| ((m.container, m.id), m))),
            Err(error) => errors.push(error),
        }
    }
    let moving: BTreeSet<ContainerKind> = moves.keys().map(|(container, _)| container.kind).collect();

    let mut listed = None;
    let (repositories, lists) = match lists {
        Lists::Read { draft, tell } => {
            listed = draft.filter(|d| d.resumed()).map(|d| Listed { began: d.began(), ended: ports.clock.now() });
            let storages: BTreeSet<_> = request.listed.iter().chain(&request.draining).cloned().collect();
            lists::read(ports, storages, &moving, draft, tell).await.unwrap_or_else(|failed| {
                errors.splice(0..0, failed);
                (Vec::new(), BTreeMap::new())
            })
        }
        Lists::Known(Inventory { origin: Origin { began, ended, .. }, lists, repositories }) => {
            listed = Some(Listed { began, ended });
            (repositories, lists)
        }
        Lists::Skip => (Vec::new(), BTreeMap::new()),
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    let Version { version, enterprise } = version;
    let gitlab = GitlabFacts { version, enterprise, token: reading(token), weights };
    Ok(Facts { gitlab, repositories, lists, listed, moves: moves.into_values().collect() })
}

/// The moves that have not ended, of all families; as far back as [`observe`] sees them.
///
/// # Errors
/// The calls that failed for good.
pub async fn moves_under_way(ports: &Ports) -> Result<Vec<MoveRecord>, Vec<PortError>> {
    let families = join_all(ContainerKind::ALL.map(|kind| moves_in_flight(ports, kind))).await;
    let (found, failed): (Vec<_>, Vec<_>) = families.into_iter().partition(Result::is_ok);
    if failed.is_empty() {
        Ok(found.into_iter().flatten().flatten().collect())
    } else {
        Err(failed.into_iter().filter_map(Result::err).collect())
    }
}

/// The moves of a family that have not ended, newest first.
async fn moves_in_flight(ports: &Ports, kind: ContainerKind) -> PortResult<Vec<MoveRecord>> {
    let mut found = Vec::new();
    let mut quiet = 0;
    for page in 1..=MOST_MOVE_PAGES {
        let moves = match ports.gitlab.moves(kind, page).await {
            Ok(moves) => moves,
            // An edition or version without moves of this kind has none in flight.
            Err(error) if error.kind == PortErrorKind::NotFound && kind != ContainerKind::Project => break,
            Err(error) => return Err(error),
        };
        if moves.is_empty() {
            break;
        }
        let before = found.len();
        found.extend(moves.into_iter().filter(|m| !m.state.is_terminal()));
        quiet = if found.len() == before { quiet + 1 } else { 0 };
        if quiet >= QUIET_PAGES {
            break;
        }
    }
    Ok(found)
}
