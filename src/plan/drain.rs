//! Which draining storages can be proven empty, and what keeps the others from it.

use std::collections::{BTreeMap, BTreeSet};

use super::WaitingOn;
use super::diff::is_drained;
use super::preflight::Preflight;
use super::report::Report;
use super::select::Selection;
use super::unlisted::unlisted;
use crate::model::{
    Address, Container, ContainerKind, Desired, ListFacts, MoveRecord, Observed, PathClass, Reading, RepositoryRole,
    StorageName, class_of, relative_path,
};
use crate::state::State;

/// What the planner knows of the sources when it comes to the proofs.
pub(super) struct Sources<'a> {
    /// Repositories on each, as observed.
    pub(super) occupied: BTreeMap<&'a StorageName, u64>,
    /// Those that planned moves leave.
    pub(super) leaving: BTreeSet<&'a StorageName>,
    /// Moves that have not ended, by container.
    pub(super) live: &'a BTreeMap<Container, &'a MoveRecord>,
    /// Live moves of repositories that the report counts already, for that reason or another.
    pub(super) told: BTreeSet<Container>,
}

/// Finds the storages to prove empty. What is known to remain on a storage is reported, and then it is none of them.
pub(super) fn proofs<'a>(
    desired: &'a Desired,
    observed: &'a Observed,
    state: &State,
    selection: &Selection<'_>,
    sources: &Sources<'a>,
    preflight: &mut Preflight<'a>,
    report: &mut Report<'a>,
) -> Vec<&'a StorageName> {
    let done = |name: &StorageName| is_drained(state, name) && !sources.occupied.contains_key(name);
    unlisted(desired, observed, done, preflight, report);
    let mut proofs = Vec::new();
    for name in desired.storages.values().filter(|storage| storage.drain).map(|storage| &storage.name) {
        let occupied = sources.occupied.contains_key(name);
        let done = done(name);
        passing(name, sources, state, report);
        if !done {
            set_aside(name, observed, state, report);
        }
        let walk = observed.storages.get(name).and_then(|facts| facts.walk.as_ref());
        if let Some(Reading::Known(paths)) = walk
            && !occupied
        {
            let doubt = kinds_in_doubt(observed, name);
            let copies = copies(state, name);
            let (mut pools, mut own, mut left, mut others) = (vec![], vec![], vec![], vec![]);
            for path in paths {
                match class_of(path) {
                    PathClass::Container(kind) if doubt.contains(&kind) => {}
                    PathClass::Pool => pools.push(path),
                    PathClass::Own => own.push(path),
                    _ if copies.contains(path) => left.push(path),
                    _ => others.push(path),
                }
            }
            // Pools go by themselves: the proof waits for them. Gitaly clears away what is its own. Nothing else goes.
            let classes = [
                (others, true, WaitingOn::Leftovers),
                (left, true, WaitingOn::Copies),
                (pools, false, WaitingOn::Pools),
                (own, false, WaitingOn::Temporary),
            ];
            for (paths, blocks, reason) in classes {
                if !paths.is_empty() {
                    report.storage(name, blocks, reason, paths.len() as u64, paths.into_iter().cloned());
                }
            }
        }
        let address = Address::new("drain", name.as_str());
        let wanted = selection.is_target(&address, Some(name)) && !selection.is_excluded(&address, Some(name));
        if done || report.is_stuck(name) {
            continue;
        }
        if !wanted {
            report.storage(name, true, WaitingOn::Selection, 0, []);
            continue;
        }
        // An empty storage is believed only when Gitaly's own walk says so too.
        let seen = occupied || sources.leaving.contains(name) || matches!(walk, Some(Reading::Known(_)));
        if preflight.source(name) && seen {
            proofs.push(name);
        } else {
            report.storage(name, true, WaitingOn::Storage { storage: name.clone() }, 0, []);
        }
    }
    proofs
}

/// Where the copies lie that GitLab left on a storage when their containers moved off it.
fn copies(state: &State, name: &StorageName) -> BTreeSet<String> {
    let left = state.storage(name).into_iter().flat_map(|record| &record.left);
    left.flat_map(|container| RepositoryRole::of(container.kind).iter().map(|role| relative_path(*container, *role)))
        .collect()
}

/// Kinds of which GitLab's list is not whole: what Gitaly has of them may be what is missing there, and is told already.
fn kinds_in_doubt(observed: &Observed, name: &StorageName) -> BTreeSet<ContainerKind> {
    let Some(ListFacts { unlisted, unreadable }) = observed.lists.get(name) else { return BTreeSet::new() };
    unlisted.keys().copied().chain(unreadable.iter().map(|one| one.kind)).collect()
}

/// Moves under way towards a storage, or off it of something that is not listed there, keep it from being empty.
fn passing<'a>(name: &'a StorageName, sources: &Sources<'a>, state: &State, report: &mut Report<'a>) {
    for (container, live) in sources.live {
        let here = live.source == name.as_str() || live.destination == name.as_str();
        if here && !sources.told.contains(container) {
            let left = state.storage(name).is_some_and(|record| record.left.contains(container));
            let reason = if left && live.source == name.as_str() {
                WaitingOn::Unended { container: *container, id: live.id, state: live.state.to_string() }
            } else {
                WaitingOn::Move { state: live.state.to_string(), destination: live.destination.clone() }
            };
            report.storage(name, true, reason, 1, [container.to_string()]);
        }
    }
}

/// A repository that was set aside on its way off a storage blocks the storage's proof also when it lives elsewhere by
/// now: what it lacks there may be left on this storage's disk. Those that GitLab still lists here are told already.
fn set_aside<'a>(name: &'a StorageName, observed: &Observed, state: &State, report: &mut Report<'a>) {
    let gone: BTreeMap<Container, &str> = state
        .quarantined()
        .filter(|(_, record)| record.source == *name)
        .map(|(container, record)| (container, record.path.as_str()))
        .collect();
    if gone.is_empty() {
        return;
    }
    let listed = observed.repositories.iter().filter(|r| r.storage == *name && gone.contains_key(&r.container));
    let listed: BTreeSet<Container> = listed.map(|r| r.container).collect();
    for (container, path) in gone.iter().filter(|(container, _)| !listed.contains(container)) {
        report.storage(name, true, WaitingOn::Release, 1, [format!("{container} {path}")]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MoveState, Unlisted, Unreadable};
    use crate::plan::fixture::{World, name};
    use crate::plan::{Change, Plan};

    fn proves(plan: &Plan) -> bool {
        plan.actions.iter().any(|a| matches!(a.change, Change::ProveEmpty { .. }))
    }

    fn reasons(plan: &Plan) -> Vec<WaitingOn> {
        plan.report.iter().map(|row| row.reason.clone()).collect()
    }

    fn empty(walk: Option<Reading<Vec<String>>>) -> World {
        let mut world = World::drain(&[]);
        world.facts("old").walk = walk;
        world
    }

    #[test]
    fn a_storage_that_everything_leaves_is_proven_last() {
        let plan = World::drain(&[1, 2]).plan();
        assert!(matches!(plan.actions.last().map(|a| &a.change), Some(Change::ProveEmpty { .. })));
        assert!(!plan.drain_is_stuck());
    }

    fn set_aside_on_its_way_off_old(cause: &str) -> World {
        let mut world = World::drain(&[1, 2]);
        let container = Container { kind: ContainerKind::Project, id: 99 };
        let record = crate::state::QuarantineRecord {
            path: "web/lost".into(),
            source: name("old"),
            destination: name("new"),
            cause: cause.into(),
            evidence: Vec::new(),
            remedy: String::new(),
            urgent: true,
        };
        let address = State::quarantine_address(container);
        world.state.records.insert(address, crate::state::Record::Quarantine(record));
        world
    }

    #[test]
    fn what_was_set_aside_on_its_way_off_blocks_the_proof() {
        let plan = set_aside_on_its_way_off_old("move failed").plan();
        assert!(!proves(&plan) && plan.drain_is_stuck());
        assert_eq!(plan.moves.len(), 2, "the others go on");
        assert_eq!(plan.findings, []);
    }

    #[test]
    fn a_possible_loss_stops_all_moves_off_its_source_until_it_is_released() {
        let mut world = set_aside_on_its_way_off_old(crate::plan::MISSING_REFERENCE);
        world.storage("other", 10);
        world.assign("others", &["other"], &["new"], 0);
        world.repositories("other", &[5]);
        let plan = world.plan();
        let sources: Vec<&str> = plan.moves.iter().map(|one| one.source.as_str()).collect();
        assert_eq!(sources, ["other"], "other sources go on");
        assert!(!proves(&plan) && plan.drain_is_stuck() && !plan.is_blocked());
        assert!(plan.actions.iter().any(|a| a.address.to_string() == "weight.old"), "the fence is no move");
        let row = plan.report.iter().find(|row| row.reason == WaitingOn::Release).expect("told");
        assert_eq!((row.subject.as_str(), row.count, row.blocks_drain), ("storage.old", 3, true));
        let danger = plan.findings.iter().find(|f| f.code == "possible-loss").expect("told");
        assert_eq!((danger.level, danger.subject.as_str()), (crate::plan::Level::Danger, "old"));
        assert!(danger.message.contains("project-99 web/lost"), "{}", danger.message);
        assert!(danger.help.contains("tranship quarantine release project-99"), "{}", danger.help);

        world.desired("old").drain = false;
        let plan = world.plan();
        assert!(plan.moves.len() == 1 && !plan.drain_is_stuck(), "held without a drain as well");

        world.state.records.clear();
        world.desired("old").drain = true;
        let plan = world.plan();
        assert_eq!((plan.moves.len(), plan.findings.len(), plan.drain_is_stuck()), (3, 0, false));
    }

    #[test]
    fn a_proof_that_was_not_selected_is_told() {
        let options = |target: &[&str], exclude: &[&str]| {
            let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
            crate::plan::Options { target: own(target), exclude: own(exclude), ..Default::default() }
        };
        for options in [options(&[], &["drain.old"]), options(&["assignment.all"], &[])] {
            let plan = World::drain(&[1]).plan_with(&options);
            assert!(!proves(&plan) && !plan.drain_is_stuck());
            assert_eq!((reasons(&plan), plan.moves.len()), (vec![WaitingOn::Selection], 1));
        }
    }

    #[test]
    fn an_empty_storage_is_proven_only_if_gitaly_says_so_too() {
        assert!(proves(&empty(Some(Reading::Known(vec![]))).plan()));
        for (walk, reason) in [
            (Some(Reading::Known(vec!["@hashed/aa/bb/x.git".to_owned()])), WaitingOn::Leftovers),
            (Some(Reading::Unknown("x".to_owned())), WaitingOn::Storage { storage: name("old") }),
            (None, WaitingOn::Storage { storage: name("old") }),
        ] {
            let plan = empty(walk).plan();
            assert!(!proves(&plan) && plan.drain_is_stuck());
            assert_eq!(reasons(&plan), [reason]);
        }
    }

    #[test]
    fn a_drained_storage_is_left_alone_even_when_it_is_switched_off() {
        let mut world = empty(None);
        world.state.storage_mut(&name("old")).drained = Some("certificate".to_owned());
        world.facts("old").server = Reading::Unknown("refused".to_owned());
        world.observed.lists.clear();
        let plan = world.plan();
        assert_eq!((proves(&plan), reasons(&plan)), (false, vec![]));
        world.observed.gitlab.weights.remove(&name("old"));
        assert_eq!(reasons(&world.plan()), []);
        // It holds something again.
        world.facts("old").walk = Some(Reading::Known(vec!["x".to_owned()]));
        let plan = world.plan();
        assert_eq!(reasons(&plan), [WaitingOn::Leftovers]);
        assert_eq!(plan.drift.len(), 1);
    }

    #[test]
    fn a_drained_storage_with_repositories_again_is_drained_again() {
        let mut world = World::drain(&[1]);
        world.state.storage_mut(&name("old")).drained = Some("certificate".to_owned());
        let plan = world.plan();
        assert!(proves(&plan));
        assert_eq!((plan.moves.len(), plan.drift.len()), (1, 1));
    }

    #[test]
    fn what_could_not_be_listed_keeps_a_drain_from_ending() {
        let mut world = World::drain(&[1]);
        let lists = world.observed.lists.get_mut(&name("old")).expect("there");
        lists.unlisted.insert(ContainerKind::GroupWiki, Unlisted::Failed("500".to_owned()));
        let broken =
            Unreadable { kind: ContainerKind::Project, ids: Some((7, 9)), place: None, cause: "500".to_owned() };
        lists.unreadable.push(broken);
        let plan = world.plan();
        assert!(!proves(&plan) && plan.drain_is_stuck() && plan.moves.len() == 1);
        let wikis = WaitingOn::Listing { kind: ContainerKind::GroupWiki, cause: "500".to_owned() };
        let project = WaitingOn::Reading { kind: ContainerKind::Project, cause: "500".to_owned() };
        assert_eq!(reasons(&plan), [wikis, project]);
        assert_eq!(plan.report[1].examples, ["project-9, and any other with an id from 7 on"]);
        // What Gitaly has may be its own: it is no leftover to be removed.
        let mut alone = empty(Some(Reading::Known(vec!["@hashed/6b/86/x.git".to_owned()])));
        alone.observed.lists.insert(name("old"), world.observed.lists[&name("old")].clone());
        assert!(!reasons(&alone.plan()).contains(&WaitingOn::Leftovers));
        // Of a storage that does not drain it is told, and blocks nothing.
        world.desired("old").drain = false;
        let plan = world.plan();
        assert!(plan.report.len() == 2 && !plan.drain_is_stuck());
    }

    #[test]
    fn a_kind_without_a_list_leaves_the_proof_to_gitalys_walk() {
        let absent = |world: &mut World| {
            let lists = world.observed.lists.get_mut(&name("old")).expect("there");
            lists.unlisted.insert(ContainerKind::Snippet, Unlisted::Absent("GitLab 16.2 has none".to_owned()));
        };
        let mut world = World::drain(&[1]);
        absent(&mut world);
        let plan = world.plan();
        assert!(proves(&plan) && !plan.drain_is_stuck());
        assert_eq!(plan.findings.iter().map(|f| f.code.as_str()).collect::<Vec<_>>(), ["no-list"]);
        let mut world = empty(Some(Reading::Known(vec!["@snippets/6b/86/x.git".to_owned()])));
        absent(&mut world);
        let plan = world.plan();
        assert!(!proves(&plan) && plan.drain_is_stuck());
        let reason = WaitingOn::Listing { kind: ContainerKind::Snippet, cause: "GitLab 16.2 has none".to_owned() };
        assert_eq!(reasons(&plan), [reason]);
    }

    #[test]
    fn pools_that_are_left_do_not_keep_the_proof_from_being_tried() {
        let pool = "@pools/6b/86/x.git".to_owned();
        let plan = empty(Some(Reading::Known(vec![pool.clone()]))).plan();
        assert!(proves(&plan) && !plan.drain_is_stuck());
        assert_eq!((reasons(&plan), &plan.report[0].examples), (vec![WaitingOn::Pools], &vec![pool.clone()]));
        let plan = empty(Some(Reading::Known(vec!["@hashed/6b/86/x.git".to_owned(), pool]))).plan();
        assert!(!proves(&plan) && plan.drain_is_stuck());
        assert_eq!(reasons(&plan), [WaitingOn::Leftovers, WaitingOn::Pools]);
    }

    #[test]
    fn what_is_left_is_told_by_class() {
        let moved = Container { kind: ContainerKind::Project, id: 7 };
        let copy = relative_path(moved, RepositoryRole::Wiki);
        let paths = ["+gitaly/tmp/x", "@hashed/6b/86/x.git", copy.as_str(), "@pools/6b/86/x.git"].map(str::to_owned);
        let mut world = empty(Some(Reading::Known(paths.to_vec())));
        world.state.storage_mut(&name("old")).left.insert(moved);
        let plan = world.plan();
        assert!(!proves(&plan) && plan.drain_is_stuck());
        let told: Vec<_> = plan.report.iter().map(|row| (row.reason.clone(), row.count, row.blocks_drain)).collect();
        for expected in [
            (WaitingOn::Leftovers, 1, true),
            (WaitingOn::Copies, 1, true),
            (WaitingOn::Pools, 1, false),
            (WaitingOn::Temporary, 1, false),
        ] {
            assert!(told.contains(&expected), "{told:?}");
        }
        let own = Some(Reading::Known(vec!["+gitaly/tmp/x".to_owned()]));
        assert!(proves(&empty(own).plan()), "Gitaly's own clutter keeps nothing from being empty");
    }

    #[test]
    fn live_moves_are_waited_for() {
        let live = |kind, id, source: &str, destination: &str| MoveRecord {
            container: Container { kind, id },
            id: 1,
            state: MoveState::Started,
            source: source.to_owned(),
            destination: destination.to_owned(),
            created_at: None,
            error_message: None,
        };
        for record in [
            live(ContainerKind::Project, 1, "old", "new"),
            live(ContainerKind::Project, 99, "elsewhere", "old"),
            live(ContainerKind::Snippet, 1, "old", "new"),
        ] {
            let mut world = World::drain(&[1, 2]);
            let listed = record.container.kind == ContainerKind::Project && record.container.id == 1;
            world.observed.moves.push(record);
            let plan = world.plan();
            assert!(!proves(&plan) && plan.drain_is_stuck());
            assert_eq!(plan.moves.len(), if listed { 1 } else { 2 });
            assert_eq!(plan.report.len(), 1);
            assert!(matches!(plan.report[0].reason, WaitingOn::Move { .. }));
            assert!(plan.findings.iter().any(|f| f.code == "foreign-moves"));
        }
    }

    #[test]
    fn what_no_assignment_takes_is_told() {
        let mut world = World::drain(&[1]);
        world.desired.assignments.clear();
        let plan = world.plan();
        assert_eq!(reasons(&plan), [WaitingOn::Assignment]);
        assert!(plan.drain_is_stuck() && !plan.is_blocked());
        assert_eq!(plan.actions.len(), 2, "weights go ahead");
    }
}
