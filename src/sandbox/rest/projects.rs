//! Projects, and commits to them.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::moves::{body_field, missing};
use super::page::{Parameters, broken, flag, full, keyset, offset, page};
use super::{App, User, administrators_only, entity, error, message};
use crate::model::{ContainerKind, StorageName};
use crate::sandbox::world::{Ability, Presence, Project, World};

fn gone() -> Response {
    missing(ContainerKind::Project)
}

/// A project by its id or its path (which arrives decoded), if it is to be seen.
fn find<'a>(world: &'a World, id: &str) -> Option<&'a Project> {
    let found = match id.parse() {
        Ok(id) => world.project(id),
        Err(_) => world.project_by_path(id),
    };
    found.filter(|p| p.presence == Presence::Live)
}

/// The rows of a page: one broken project spoils all of it.
fn rows(world: &World, page: &[&Project], user: User, statistics: bool, url: &str) -> Option<Vec<Value>> {
    let row = |p: &&Project| (!p.poisoned).then(|| entity::project(world, p, user, statistics, url));
    page.iter().map(row).collect()
}

/// `GET /projects`.
pub(super) async fn list(
    State(app): State<App>,
    Extension(user): Extension<User>,
    uri: Uri,
    Query(parameters): Query<Parameters>,
) -> Response {
    let flag = |name: &str| flag(&parameters, name);
    let number = |name: &str| parameters.get(name).and_then(|v| v.parse::<u64>().ok());
    let text = |name: &str| parameters.get(name).map(String::as_str);
    let url = app.post.endpoints().gitlab_url;
    let by_id = text("order_by") == Some("id");
    let ascending = text("sort") == Some("asc");
    let statistics = flag("statistics") == Some(true);
    // The filter is dropped without a word for whoever is no administrator.
    let storage = text("repository_storage").filter(|_| user == User::Administrator);
    let storage = match storage.map(StorageName::new) {
        // No project is on a storage that cannot be.
        Some(Err(_)) => return offset(&app, &full(&uri), &parameters, 0, |_, _| Some(Vec::new())),
        Some(Ok(name)) => Some(name),
        None => None,
    };
    if text("pagination") == Some("keyset") && !by_id {
        let text = "Keyset pagination is not yet available for this type of request";
        return error(StatusCode::METHOD_NOT_ALLOWED, text);
    }
    let administrator = user == User::Administrator;
    let pending = administrator && flag("include_pending_delete") == Some(true);
    let hidden = administrator && flag("include_hidden") == Some(true);
    let hidden = hidden && app.fleet.world(|w| w.release.can(Ability::HiddenProjects));
    let wanted = |p: &&Project| {
        let seen = match p.presence {
            Presence::Live => true,
            Presence::PendingDelete => pending,
            Presence::Hidden => hidden,
        };
        seen && flag("archived").is_none_or(|wanted| p.archived == wanted)
            && number("id_before").is_none_or(|before| p.id < before)
    };
    let after = number("id_after").unwrap_or(0);
    if text("pagination") == Some("keyset") {
        let size = match page(&parameters) {
            Ok(page) => page.per_page as usize,
            Err(answer) => return answer,
        };
        let (found, last) = app.fleet.world(|w| {
            let all = w.projects_after(storage.as_ref(), after);
            let found: Vec<&Project> = if ascending {
                all.filter(wanted).take(size).collect()
            } else {
                all.rev().filter(wanted).take(size).collect()
            };
            let last = found.last().map(|p| p.id);
            (rows(w, &found, user, statistics, &url), last)
        });
        return found.map_or_else(broken, |found| keyset(&app, &full(&uri), &parameters, found, last));
    }
    app.fleet.world(|w| {
        let mut found: Vec<&Project> = w.projects_after(storage.as_ref(), after).filter(wanted).collect();
        match text("order_by") {
            Some("id") => {}
            Some("path" | "name") => found.sort_by_key(|p| (&p.path, p.id)),
            Some("last_activity_at" | "updated_at") => found.sort_by_key(|p| (p.last_activity, p.id)),
            Some("repository_size" | "storage_size") => found.sort_by_key(|p| (p.bytes(), p.id)),
            _ => found.sort_by_key(|p| (p.created, p.id)),
        }
        if !ascending {
            found.reverse();
        }
        offset(&app, &full(&uri), &parameters, found.len() as u64, |skip, take| {
            let page = found.get(skip..).unwrap_or_default();
            rows(w, page.get(..take).unwrap_or(page), user, statistics, &url)
        })
    })
}

/// `GET /projects/:id`.
pub(super) async fn show(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Response {
    let statistics = flag(&parameters, "statistics") == Some(true);
    let url = app.post.endpoints().gitlab_url;
    let found = app.fleet.world(|w| find(w, &id).map(|p| rows(w, &[p], user, statistics, &url)));
    match found {
        Some(Some(mut rows)) => Json(rows.pop()).into_response(),
        Some(None) => broken(),
        None => gone(),
    }
}

/// `GET /projects/:id/storage`.
pub(super) async fn storage(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Path(id): Path<String>,
) -> Response {
    if let Err(answer) = administrators_only(user) {
        return answer;
    }
    let found = app.fleet.world(|w| {
        find(w, &id).map(|p| {
            json!({
                "project_id": p.id,
                "disk_path": p.disk_path(),
                "repository_storage": p.storage,
                "created_at": entity::time(p.created),
            })
        })
    });
    found.map_or_else(gone, |p| Json(p).into_response())
}

/// `POST /projects/:id/repository/commits`: a push, refused while the project is frozen or archived.
pub(super) async fn commit(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
    body: Bytes,
) -> Response {
    for name in ["branch", "commit_message"] {
        if body_field(&body, &parameters, name).is_none() {
            return error(StatusCode::BAD_REQUEST, &format!("{name} is missing"));
        }
    }
    let branch = body_field(&body, &parameters, "branch").unwrap_or_default();
    let text = body_field(&body, &parameters, "commit_message").unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if branch.is_empty() || !branch.chars().all(plain) || branch.contains("..") || branch.starts_with('-') {
        return message(StatusCode::BAD_REQUEST, "You can only create or edit files when you are on a branch");
    }
    let pushed = tokio::task::spawn_blocking(move || {
        // Within the world's lock: a move that is scheduled now waits for this push.
        app.fleet.world(|w| {
            let Some(p) = find(w, &id).cloned() else { return gone() };
            if p.read_only {
                let text = "403 Forbidden - The repository is temporarily read-only. Please try again later.";
                return message(StatusCode::FORBIDDEN, text);
            }
            if p.archived {
                return message(StatusCode::FORBIDDEN, "403 Forbidden");
            }
            let path = format!("{}.git", p.disk_path());
            match app.fleet.content.push(&p.storage, &path, Some(&branch), &text) {
                Ok(commit) => {
                    let short: String = commit.chars().take(8).collect();
                    let answer = json!({ "id": commit, "short_id": short, "title": text, "message": text });
                    let size = app.fleet.content.measure(&p.storage, &path).map_or(p.repository_size, |m| m.size);
                    let last_activity = app.fleet.now();
                    w.put_project(Project { empty: false, repository_size: size, last_activity, ..p });
                    (StatusCode::CREATED, Json(answer)).into_response()
                }
                Err(e) => message(StatusCode::BAD_REQUEST, &e.to_string()),
            }
        })
    });
    pushed.await.unwrap_or_else(|_| message(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error"))
}
