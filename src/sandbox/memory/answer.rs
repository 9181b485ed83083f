//! What GitLab answers, as the real adapter would make it of the wire: pages, containers, moves, errors.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::world::{Ability, Group, Move, Presence, Project, Snippet, World};
use crate::apply::port::{Cursor, Listing, PortError, PortErrorKind, PortResult};
use crate::model::{Bytes, Container, ContainerKind, MoveRecord, Repository, StorageName, Weight};

/// The error of a call that GitLab answered with that status, and that may be repeated.
pub(super) fn answered(status: u16, call: &str, message: &str) -> PortError {
    PortError { status: Some(status), ..PortError::new(PortErrorKind::Transient, call, message) }
}

pub(super) fn of_project(world: &World, p: &Project) -> Repository {
    Repository {
        container: p.container(),
        path: p.path.clone().into(),
        storage: p.storage.clone(),
        size: Some(Bytes(p.bytes())),
        archived: Some(p.archived),
        empty: Some(p.empty),
        fork_parent: p.fork_parent,
        parent_storage: p.fork_parent.and_then(|id| world.project(id)).map(|parent| parent.storage.clone()),
        last_activity: Some(p.last_activity.as_second()),
        created: Some(p.created.as_second()),
    }
}

fn of_other(container: Container, path: String, storage: StorageName, created: Timestamp) -> Repository {
    Repository {
        container,
        path: path.into(),
        storage,
        size: None,
        archived: None,
        empty: None,
        fork_parent: None,
        parent_storage: None,
        last_activity: None,
        created: Some(created.as_second()),
    }
}

/// A snippet as an answer tells of it.
pub(super) fn of_snippet(world: &World, s: &Snippet) -> Option<Repository> {
    let container = Container { kind: ContainerKind::Snippet, id: s.id };
    let storage = s.storage.clone().or_else(|| world.draw_storage())?;
    let repository = of_other(container, format!("snippets/{}", s.id), storage, s.created);
    Some(Repository { last_activity: Some(s.updated.as_second()), ..repository })
}

/// A group's wiki, if it has one.
pub(super) fn of_group(g: &Group) -> Option<Repository> {
    let container = Container { kind: ContainerKind::GroupWiki, id: g.id };
    Some(of_other(container, g.path.clone(), g.storage.clone()?, g.created))
}

/// One page of what GitLab lists, as the real adapter reads it.
pub(super) fn page(
    world: &World,
    kind: ContainerKind,
    storage: &StorageName,
    at: Cursor,
    call: &str,
) -> PortResult<Listing> {
    let size = at.size.clamp(1, 100) as usize;
    let offset = |all: Vec<Option<Repository>>| {
        let skip = (at.page.max(1) as usize - 1).saturating_mul(size);
        let more = all.len() > skip.saturating_add(size);
        // By their own field: an edition may not heed the filter.
        let found = all.into_iter().skip(skip).take(size).flatten().filter(|r| r.storage == *storage).collect();
        Listing { found, next: more.then_some(Cursor { page: at.page.max(1).saturating_add(1), ..at }) }
    };
    match kind {
        ContainerKind::Project => {
            let hidden = world.release.can(Ability::HiddenProjects);
            let shown = world.projects_after(Some(storage), at.after);
            let shown: Vec<&Project> = shown.filter(|p| hidden || p.presence != Presence::Hidden).take(size).collect();
            if shown.iter().any(|p| p.poisoned) {
                return Err(answered(500, call, "500 Internal Server Error"));
            }
            let next = shown.last().map(|last| Cursor { after: last.id, ..at });
            Ok(Listing { found: shown.into_iter().map(|p| of_project(world, p)).collect(), next })
        }
        ContainerKind::Snippet if !world.release.can(Ability::AllSnippets) => {
            Err(PortError { status: Some(404), ..PortError::new(PortErrorKind::NotFound, call, "404 Not Found") })
        }
        ContainerKind::Snippet => {
            let filter = Some(storage).filter(|_| world.release.can(Ability::SnippetFilter));
            Ok(offset(world.snippets(filter).rev().map(|s| of_snippet(world, s)).collect()))
        }
        ContainerKind::GroupWiki if world.release.can(Ability::GroupFilter) => {
            Ok(offset(world.groups(Some(storage)).map(of_group).collect()))
        }
        // Group wikis without a list by storage.
        ContainerKind::GroupWiki if world.moves_kind(kind) => Err(PortError::new(
            PortErrorKind::NotFound,
            call,
            "GitLab does not list groups by the storage of their wikis",
        )),
        ContainerKind::GroupWiki => Ok(Listing { found: Vec::new(), next: None }),
    }
}

pub(super) fn record(world: &World, m: &Move) -> MoveRecord {
    MoveRecord {
        container: m.container,
        id: m.id,
        state: m.state.clone(),
        source: m.source.to_string(),
        destination: m.destination.to_string(),
        created_at: Some(m.created_at),
        error_message: m.error.clone().filter(|_| world.release.can(Ability::MoveErrors)),
    }
}

pub(super) fn weights(world: &World) -> BTreeMap<StorageName, Weight> {
    let known = world.weights().into_iter();
    known.filter_map(|(name, weight)| Some((StorageName::new(name).ok()?, Weight::new(weight).ok()?))).collect()
}

/// The error of a family of moves that this GitLab does not have.
pub(super) fn families(world: &World, kind: ContainerKind, call: &str) -> PortResult<()> {
    if world.moves_kind(kind) {
        return Ok(());
    }
    Err(PortError { status: Some(404), ..PortError::new(PortErrorKind::NotFound, call, "404 Not Found") })
}
