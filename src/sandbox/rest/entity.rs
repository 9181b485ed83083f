//! What GitLab's lists and answers are made of, as JSON.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::User;
use crate::sandbox::world::{Move, Project, World};

/// Milliseconds, UTC.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

fn identity(p: &Project) -> Value {
    let name = p.path.rsplit('/').next().unwrap_or_default();
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
    let Some(fields) = value.as_object_mut() else { return value };
    let wiki = if p.wiki { "enabled" } else { "disabled" };
    let rest = json!({
        "default_branch": if p.empty { Value::Null } else { json!("main") },
        "visibility": "private",
        "archived": p.archived,
        "empty_repo": p.empty,
        "last_activity_at": time(p.last_activity),
        "marked_for_deletion_on": null,
        "forks_count": 0,
        "repository_access_level": "enabled",
        "wiki_access_level": wiki,
        "_links": { "self": format!("{url}/api/v4/projects/{}", p.id) },
    });
    fields.extend(rest.as_object().cloned().unwrap_or_default());
    if user == User::Administrator {
        fields.insert("repository_storage".to_owned(), json!(p.storage));
    }
    if let Some(parent) = p.fork_parent.and_then(|id| world.project(id)) {
        let mut parent_value = identity(parent);
        if let (Some(of), User::Administrator) = (parent_value.as_object_mut(), user) {
            of.insert("repository_storage".to_owned(), json!(parent.storage));
        }
        fields.insert("forked_from_project".to_owned(), parent_value);
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
        fields.insert("statistics".to_owned(), figures);
    }
    value
}

/// A move.
pub(super) fn storage_move(world: &World, m: &Move) -> Value {
    json!({
        "id": m.id,
        "created_at": time(m.created_at),
        "state": m.state,
        "source_storage_name": m.source,
        "destination_storage_name": m.destination,
        "error_message": m.error,
        "project": world.project(m.project).map(identity),
    })
}
