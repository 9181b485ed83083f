//! What GitLab's lists and answers are made of, as JSON.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::User;
use crate::model::ContainerKind;
use crate::sandbox::world::{Ability, Group, Move, Project, Snippet, World, family};

/// Milliseconds, UTC.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Adds the fields of `more`, which is an object.
fn extend(fields: &mut Value, more: Value) {
    if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
        fields.extend(more);
    }
}

fn identity(p: &Project) -> Value {
    let name = last(&p.path);
    json!({
        "id": p.id,
        "description": null,
        "name": name,
        "name_with_namespace": p.path.replace('/', " / "),
        "path": name,
        "path_with_namespace": p.path,
        "created_at": time(p.created),
    })
}

/// A project. Its storage is for administrators; statistics only when asked for.
pub(super) fn project(world: &World, p: &Project, user: User, statistics: bool, url: &str) -> Value {
    let mut value = identity(p);
    let wiki = if p.wiki { "enabled" } else { "disabled" };
    let rest = json!({
        "default_branch": if p.empty { Value::Null } else { json!("main") },
        // Private projects have no object pool.
        "visibility": if p.pool.is_some() { "internal" } else { "private" },
        "archived": p.archived,
        "empty_repo": p.empty,
        "last_activity_at": time(p.last_activity),
        "marked_for_deletion_on": null,
        "forks_count": world.forks_of(p.id),
        "repository_access_level": "enabled",
        "wiki_access_level": wiki,
        "_links": { "self": format!("{url}/api/v4/projects/{}", p.id) },
    });
    extend(&mut value, rest);
    if user == User::Administrator {
        extend(&mut value, json!({ "repository_storage": p.storage }));
    }
    if let Some(parent) = p.fork_parent.and_then(|id| world.project(id)) {
        let mut parent_value = identity(parent);
        if user == User::Administrator {
            extend(&mut parent_value, json!({ "repository_storage": parent.storage }));
        }
        extend(&mut value, json!({ "forked_from_project": parent_value }));
    }
    if statistics {
        let figures = json!({
            "commit_count": if p.empty { 0 } else { 7 },
            "storage_size": p.bytes(),
            "repository_size": p.repository_size,
            "wiki_size": p.wiki_size,
            "lfs_objects_size": 0,
            "job_artifacts_size": 0,
            "packages_size": 0,
            "snippets_size": 0,
            "uploads_size": 0,
        });
        extend(&mut value, json!({ "statistics": figures }));
    }
    value
}

fn snippet_identity(world: &World, s: &Snippet, url: &str) -> Value {
    let under = s.project.and_then(|id| world.project(id)).map_or_else(String::new, |p| format!("/{}", p.path));
    let web_url = format!("{url}{under}/-/snippets/{}", s.id);
    json!({
        "id": s.id,
        "title": s.title,
        "description": null,
        "visibility": "private",
        "author": { "id": 1, "username": "root", "name": "Administrator", "state": "active" },
        "created_at": time(s.created),
        "updated_at": time(s.updated),
        "project_id": s.project,
        "web_url": web_url,
        "raw_url": format!("{web_url}/raw"),
    })
}

/// A snippet. Without a repository record, the storage that GitLab tells is drawn, another each time.
pub(super) fn snippet(world: &World, s: &Snippet, user: User, url: &str) -> Value {
    let mut value = snippet_identity(world, s, url);
    extend(
        &mut value,
        json!({ "file_name": "notes.md", "files": [], "ssh_url_to_repo": null, "http_url_to_repo": null }),
    );
    if user == User::Administrator {
        let storage = s.storage.clone().or_else(|| world.draw_storage());
        extend(&mut value, json!({ "repository_storage": storage }));
    }
    value
}

fn group_identity(g: &Group, url: &str) -> Value {
    json!({ "id": g.id, "web_url": format!("{url}/groups/{}", g.path), "name": last(&g.path) })
}

/// A group. The storage is its wiki's, where the edition has group wikis, and null without one.
pub(super) fn group(world: &World, g: &Group, user: User, statistics: bool, url: &str) -> Value {
    let mut value = group_identity(g, url);
    let parent = g.path.rsplit_once('/').and_then(|(parent, _)| world.group_by_path(parent));
    let rest = json!({
        "path": last(&g.path),
        "full_path": g.path,
        "full_name": g.path.replace('/', " / "),
        "description": "",
        "visibility": "private",
        "parent_id": parent.map(|p| p.id),
        "created_at": time(g.created),
    });
    extend(&mut value, rest);
    if world.release.can(Ability::GroupFilter) {
        extend(&mut value, json!({ "wiki_access_level": "enabled" }));
        if user == User::Administrator {
            extend(&mut value, json!({ "repository_storage": g.storage }));
        }
    }
    if statistics {
        let figures = json!({ "storage_size": g.size, "repository_size": 0, "wiki_size": g.size });
        extend(&mut value, json!({ "statistics": figures }));
    }
    value
}

/// A move, with what moves under its family's word.
pub(super) fn storage_move(world: &World, m: &Move, url: &str) -> Value {
    let id = m.container.id;
    let container = match m.container.kind {
        ContainerKind::Project => world.project(id).map(identity),
        ContainerKind::Snippet => world.snippet(id).map(|s| snippet_identity(world, s, url)),
        ContainerKind::GroupWiki => world.group(id).map(|g| group_identity(g, url)),
    };
    let mut fields = Map::from_iter([
        ("id".to_owned(), json!(m.id)),
        ("created_at".to_owned(), json!(time(m.created_at))),
        ("state".to_owned(), json!(m.state)),
        ("source_storage_name".to_owned(), json!(m.source)),
        ("destination_storage_name".to_owned(), json!(m.destination)),
        (family(m.container.kind).to_owned(), json!(container)),
    ]);
    if world.release.can(Ability::MoveErrors) {
        fields.insert("error_message".to_owned(), json!(m.error));
    }
    Value::Object(fields)
}
