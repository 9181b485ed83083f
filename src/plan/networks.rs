//! Fork networks beyond their members' names: where they live already, what they share, and where a plan splits them.
//! Forks share an object pool on their storage; apart, each storage holds its own copy of it. (safe-migration §7)

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use super::assign::Claims;
use super::make::Planner;
use super::placement::{Item, Names};
use super::{Level, placement};
use crate::expr::Truth;
use crate::model::{Bytes, Container, ContainerKind, Desired, Observed, Repository, StorageName};

/// Networks whose pool is asked for at most, those with most members to move: two small calls each.
const MOST_POOLS: usize = 500;
/// How many networks a finding names.
const EXAMPLES: usize = 3;

/// Where the members of each network are, as far as the lists tell: how many on which storage.
pub(super) type Homes = BTreeMap<NonZeroU64, BTreeMap<u32, u64>>;

/// Counts the members of each network by storage. A parent that is not listed counts where its forks say it is.
pub(super) fn homes(ordered: &[&Repository], claims: &Claims<'_>, names: &Names<'_>) -> Homes {
    let mut homes = Homes::new();
    for id in claims.networks.members() {
        let container = Container { kind: ContainerKind::Project, id };
        let listed = ordered.binary_search_by_key(&container, |repository| repository.container);
        let Some(repository) = listed.ok().and_then(|n| ordered.get(n)) else { continue };
        let Some(network) = NonZeroU64::new(claims.networks.of(id)) else { continue };
        let home = homes.entry(network).or_default();
        if let Some(here) = names.number(&repository.storage) {
            *home.entry(here).or_default() += 1;
        }
        if let Some(parent) = repository.parent_storage.as_ref().and_then(|storage| names.number(storage)) {
            *home.entry(parent).or_default() += 1;
        }
    }
    homes
}

/// Lists the networks whose pool matters for a plan, with a member each: those of which something moves.
pub fn pools_wanted(desired: &Desired, observed: &Observed) -> Vec<(StorageName, u64, Container)> {
    if observed.repositories.iter().all(|r| r.fork_parent.is_none()) {
        return Vec::new();
    }
    let Ok(claims) = Claims::new(desired, observed) else { return Vec::new() };
    let mut found: BTreeMap<(&StorageName, NonZeroU64), (u64, Container)> = BTreeMap::new();
    for repository in &observed.repositories {
        let Some(network) = claims.networks.among(repository) else { continue };
        let row = claims.row(repository, &repository.storage);
        let moves = claims.of(&repository.storage).iter().any(|claimer| {
            let takes = matches!(claimer.assignment.filter.test(&row), Ok(Truth::True));
            takes && claimer.assignment.to.binary_search(&repository.storage).is_err()
        });
        if moves {
            found.entry((&repository.storage, network)).or_insert((0, repository.container)).0 += 1;
        }
    }
    let mut wanted: Vec<_> = found.into_iter().collect();
    wanted
        .sort_by_key(|((storage, network), (members, _))| (std::cmp::Reverse(*members), *network, (*storage).clone()));
    wanted.truncate(MOST_POOLS);
    wanted.into_iter().map(|((storage, network), (_, member))| (storage.clone(), network.get(), member)).collect()
}

/// The pool that a network's members on a storage borrow from; 0 bytes without one.
pub(super) fn pool_of(observed: &Observed, storage: &StorageName, network: NonZeroU64) -> Bytes {
    let pool = observed.pools.get(&(storage.clone(), network.get()));
    pool.and_then(|pool| pool.size).unwrap_or_default()
}

/// Bytes that a pool takes on a destination, with inflation: once itself, and once more within each member's copy, of
/// which so many are under way at once, until Gitaly's housekeeping takes it out.
pub(super) fn pool_need(pool: Bytes, members: usize, at_once: u32) -> u64 {
    let copies = 1 + (members as u64).min(u64::from(at_once));
    if pool.0 == 0 { 0 } else { placement::need(pool).0.saturating_mul(copies) }
}

/// Why a network's members come to lie on several storages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Split {
    Room,
    Assignments,
}

impl<'a> Planner<'a, '_> {
    /// Says which networks come to lie apart, and what forks share.
    pub(super) fn networks(&mut self, items: &[Item<'a>], homes: &Homes) {
        self.shared(items);
        let mut ends: BTreeMap<NonZeroU64, (BTreeSet<u32>, BTreeSet<u32>, u64, Bytes)> = BTreeMap::new();
        for item in items {
            if let (Some(network), Some(destination)) = (item.network, item.destination) {
                let (storages, groups, members, shared) = ends.entry(network).or_default();
                *shared = item.shared.max(*shared);
                storages.insert(destination);
                groups.insert(item.claimer.group);
                *members += 1;
                // What is there already, on a storage where this one might have gone as well.
                let to = &item.claimer.assignment.to;
                let settled = homes.get(&network).into_iter().flat_map(|home| home.keys());
                storages.extend(settled.filter(|n| self.names.name(**n).is_some_and(|s| to.binary_search(s).is_ok())));
            }
        }
        let mut splits: BTreeMap<Split, (Vec<String>, u64)> = BTreeMap::new();
        for (network, (storages, groups, members, shared)) in
            ends.iter().filter(|(_, (storages, ..))| storages.len() > 1)
        {
            let why = if groups.len() > 1 { Split::Assignments } else { Split::Room };
            let names: Vec<&str> =
                storages.iter().filter_map(|n| self.names.name(*n)).map(StorageName::as_str).collect();
            let text = format!("that of project-{network} ({members} to move) over {}", names.join(", "));
            let (networks, lost) = splits.entry(why).or_default();
            networks.push(text);
            // Each storage but the first holds the pool once more.
            *lost = lost.saturating_add(shared.0.saturating_mul(storages.len() as u64 - 1));
        }
        for (why, (networks, lost)) in splits {
            let more = if networks.len() > EXAMPLES { ", …" } else { "" };
            let examples: Vec<&str> = networks.iter().take(EXAMPLES).map(String::as_str).collect();
            let (number, split) = match networks.len() {
                1 => ("1 fork network".to_owned(), "is split"),
                n => (format!("{n} fork networks"), "are split"),
            };
            let because = match why {
                Split::Room => "because no storage that the assignment names has room for the whole",
                Split::Assignments => "because assignments send members to different storages",
            };
            let lost = match lost {
                0 => String::new(),
                lost => format!(": {} more in all, as far as pools are known", Bytes(lost)),
            };
            let message = format!(
                "{number} {split} {because}: {}{more}. What members share is stored once on each{lost}.",
                examples.join("; ")
            );
            let help = match why {
                Split::Room => "Make room on one of them, or let it be so.",
                Split::Assignments => {
                    "To keep it together, select it as a whole, by repository.fork_network, or let it be so."
                }
            };
            self.preflight.add(Level::Notice, "network-split", "forks", message, help);
        }
    }

    /// Says how much forks borrow from pools: their copies bring it along.
    fn shared(&mut self, items: &[Item<'a>]) {
        let mut pools: BTreeMap<(u32, NonZeroU64), (Bytes, u64)> = BTreeMap::new();
        for item in items.iter().filter(|item| item.shared.0 > 0) {
            if let Some(network) = item.network {
                pools.entry((item.source, network)).or_insert((item.shared, 0)).1 += 1;
            }
        }
        if pools.is_empty() {
            return;
        }
        let sum = Bytes(pools.values().fold(0, |sum, (size, _)| sum.saturating_add(size.0)));
        let members: u64 = pools.values().map(|(_, members)| members).sum();
        let what = if pools.len() == 1 { "1 object pool".to_owned() } else { format!("{} object pools", pools.len()) };
        let message = format!(
            "{members} of the repositories to move borrow from {what} ({sum}). Each copy brings its pool's objects along \
             until Gitaly's housekeeping takes them out; room is kept for that."
        );
        self.preflight.add(Level::Notice, "object-pools", "forks", message, "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DiskSpace, PoolFacts, Reading};
    use crate::plan::fixture::{GIB, World, name, repository};
    use crate::plan::{Finding, Plan};

    fn disk(world: &mut World, storage: &str, available: u64, used: u64) {
        world.facts(storage).disk = Reading::Known(DiskSpace { available: Bytes(available), used: Bytes(used) });
    }

    /// Projects 1 to 4 on `old`, which drains into `a` and `b`; 2, 3 and 4 are forks of 1.
    fn world() -> World {
        let mut world = World::new(&["old", "a", "b"]);
        world.observed.gitlab.weights.insert(name("a"), crate::plan::fixture::weight(50));
        world.desired("old").drain = true;
        world.assign("all", &["old"], &["a", "b"], 0);
        world.repositories("old", &[GIB, GIB, GIB, GIB]);
        for fork in &mut world.observed.repositories[1..] {
            fork.fork_parent = Some(1);
        }
        world
    }

    fn ends(plan: &Plan) -> Vec<(u64, &str)> {
        let mut ends: Vec<_> = plan.moves.iter().map(|m| (m.container.id, m.destination.as_str())).collect();
        ends.sort_unstable();
        ends
    }

    fn finding<'p>(plan: &'p Plan, code: &str) -> Option<&'p Finding> {
        plan.findings.iter().find(|f| f.code == code)
    }

    #[test]
    fn a_network_goes_where_it_is_already() {
        let mut world = world();
        disk(&mut world, "b", 50 * GIB, 50 * GIB);
        assert_eq!(ends(&world.plan()), [(1, "a"), (2, "a"), (3, "a"), (4, "a")], "most room");
        // Its root has moved, as its forks say.
        world.observed.repositories.remove(0);
        for fork in &mut world.observed.repositories {
            fork.parent_storage = Some(name("b"));
        }
        assert_eq!(ends(&world.plan()), [(2, "b"), (3, "b"), (4, "b")]);
        // Or a fork, as the list of `b` says.
        for fork in &mut world.observed.repositories {
            fork.parent_storage = None;
        }
        let mut moved = repository(9, "b", GIB);
        moved.fork_parent = Some(1);
        world.observed.repositories.push(moved);
        assert_eq!(ends(&world.plan()), [(2, "b"), (3, "b"), (4, "b")]);
        assert_eq!(finding(&world.plan(), "network-split"), None);
        // No room there: it goes elsewhere, and that is told.
        disk(&mut world, "b", GIB, 99 * GIB);
        let plan = world.plan();
        assert_eq!(ends(&plan), [(2, "a"), (3, "a"), (4, "a")]);
        let told = &finding(&plan, "network-split").expect("told").message;
        assert!(told.contains("no storage that the assignment names has room") && told.contains("over a, b"), "{told}");
    }

    #[test]
    fn a_split_is_told_with_its_reason() {
        let mut world = world();
        for storage in ["a", "b"] {
            disk(&mut world, storage, 3 * GIB, 0);
        }
        let plan = world.plan();
        assert_eq!(ends(&plan), [(1, "a"), (2, "b"), (3, "a"), (4, "b")]);
        let told = finding(&plan, "network-split").expect("told");
        assert!(told.message.starts_with("1 fork network is split because no storage"), "{}", told.message);
        assert!(told.message.contains("that of project-1 (4 to move) over a, b"), "{}", told.message);
        assert!(!plan.drain_is_stuck() && !plan.is_blocked());
        let mut world = self::world();
        world.desired.assignments.clear();
        world.assign("most", &["old"], &["a"], 0);
        world.assign("root", &["old"], &["b"], 1);
        world.desired.assignments[1].filter = crate::plan::fixture::where_id(1);
        let plan = world.plan();
        assert_eq!(ends(&plan), [(1, "b"), (2, "a"), (3, "a"), (4, "a")]);
        let told = finding(&plan, "network-split").expect("told");
        assert!(told.message.contains("because assignments send members"), "{}", told.message);
    }

    #[test]
    fn law_8_room_is_kept_for_pools() {
        let mut world = world();
        let wanted = pools_wanted(&world.desired, &world.observed);
        assert_eq!(wanted, [(name("old"), 1, world.observed.repositories[0].container)], "one member of each network");
        let pool = PoolFacts { path: "@pools/x.git".into(), size: Some(Bytes(10 * GIB)) };
        world.observed.pools.insert((name("old"), 1), pool);
        let plan = world.plan();
        assert!(plan.moves.iter().all(|m| m.shared == Bytes(10 * GIB) && m.copied() == Bytes(11 * GIB)));
        // Four of 1 GiB, and five times the pool: four copies under way, and the pool itself; a tenth more of all.
        let incoming = plan.storages[&name("a")].incoming;
        assert!(incoming.0.abs_diff(GIB * 54 * 11 / 10) < 100, "{incoming}");
        let told = &finding(&plan, "object-pools").expect("told").message;
        assert!(told.starts_with("4 of the repositories to move borrow from 1 object pool (10 GiB)"), "{told}");
        disk(&mut world, "a", 50 * GIB, 0);
        disk(&mut world, "b", 20 * GIB, 0);
        let plan = world.plan();
        assert_eq!(ends(&plan).len(), 1, "{:?}", ends(&plan));
        assert!(plan.drain_is_stuck());
        world.desired.max_moves = 1;
        assert_eq!(ends(&world.plan()), [(1, "a"), (2, "a"), (3, "a"), (4, "a")], "one copy at a time");
    }
}
