//! Projects, their moves, and commits to them.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Extension, Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::page::{Parameters, full, keyset, offset, page};
use super::{App, Scissors, User, Wire, administrators_only, entity, error, message};
use crate::model::{Container, ContainerKind, RepositoryRole, StorageName, relative_path};
use crate::sandbox::draw::Draw;
use crate::sandbox::world::{Project, ScheduleError, World};

fn missing() -> Response {
    message(StatusCode::NOT_FOUND, "404 Project Not Found")
}

/// A project by its id or its path (which arrives decoded).
fn find<'a>(world: &'a World, id: &str) -> Option<&'a Project> {
    match id.parse() {
        Ok(id) => world.project(id),
        Err(_) => world.project_by_path(id),
    }
}

/// `GET /projects`.
pub(super) async fn list(
    State(app): State<App>,
    Extension(user): Extension<User>,
    uri: Uri,
    Query(parameters): Query<Parameters>,
) -> Response {
    let flag = |name: &str| parameters.get(name).map(|v| matches!(v.as_str(), "true" | "1"));
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
        Some(Err(_)) => return offset(&app, &full(&uri), &parameters, 0, |_, _| Vec::new()),
        Some(Ok(name)) => Some(name),
        None => None,
    };
    if text("pagination") == Some("keyset") && !by_id {
        let text = "Keyset pagination is not yet available for this type of request";
        return error(StatusCode::METHOD_NOT_ALLOWED, text);
    }
    let wanted = |p: &&Project| {
        flag("archived").is_none_or(|wanted| p.archived == wanted)
            && number("id_before").is_none_or(|before| p.id < before)
    };
    let after = number("id_after").unwrap_or(0);
    if text("pagination") == Some("keyset") {
        let size = match page(&parameters) {
            Ok(page) => page.per_page as usize,
            Err(answer) => return answer,
        };
        let (rows, last) = app.fleet.world(|w| {
            let all = w.projects_after(storage.as_ref(), after);
            let found: Vec<&Project> = if ascending {
                all.filter(wanted).take(size).collect()
            } else {
                all.rev().filter(wanted).take(size).collect()
            };
            let last = found.last().map(|p| p.id);
            let row = |p: &&Project| entity::project(w, p, user, statistics, &url);
            (found.iter().map(row).collect::<Vec<Value>>(), last)
        });
        return keyset(&app, &full(&uri), &parameters, rows, last);
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
            let rows = found.iter().skip(skip).take(take);
            rows.map(|p| entity::project(w, p, user, statistics, &url)).collect()
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
    let statistics = parameters.get("statistics").is_some_and(|v| v == "true" || v == "1");
    let url = app.post.endpoints().gitlab_url;
    let found = app.fleet.world(|w| find(w, &id).map(|p| entity::project(w, p, user, statistics, &url)));
    found.map_or_else(missing, |p| Json(p).into_response())
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
            let path = relative_path(Container { kind: ContainerKind::Project, id: p.id }, RepositoryRole::Main);
            json!({
                "project_id": p.id,
                "disk_path": path.strip_suffix(".git"),
                "repository_storage": p.storage,
                "created_at": entity::time(p.created),
            })
        })
    });
    found.map_or_else(missing, |p| Json(p).into_response())
}

/// `GET /projects/:id/repository_storage_moves`.
pub(super) async fn moves_of(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Path(id): Path<String>,
    uri: Uri,
    Query(parameters): Query<Parameters>,
) -> Response {
    if let Err(answer) = administrators_only(user) {
        return answer;
    }
    app.fleet.world(|w| {
        let Some(p) = find(w, &id) else { return missing() };
        let total = w.moves_of(p.id).count() as u64;
        offset(&app, &full(&uri), &parameters, total, |skip, take| {
            w.moves_of(p.id).skip(skip).take(take).map(|m| entity::storage_move(w, m)).collect()
        })
    })
}

/// `GET /project_repository_storage_moves`.
pub(super) async fn moves(
    State(app): State<App>,
    Extension(user): Extension<User>,
    uri: Uri,
    Query(parameters): Query<Parameters>,
) -> Response {
    if let Err(answer) = administrators_only(user) {
        return answer;
    }
    app.fleet.world(|w| {
        offset(&app, &full(&uri), &parameters, w.move_count() as u64, |skip, take| {
            w.moves().skip(skip).take(take).map(|m| entity::storage_move(w, m)).collect()
        })
    })
}

fn one_move(app: &App, user: User, project: Option<&str>, id: &str) -> Response {
    if let Err(answer) = administrators_only(user) {
        return answer;
    }
    let Ok(id) = id.parse() else { return error(StatusCode::BAD_REQUEST, "repository_storage_move_id is invalid") };
    app.fleet.world(|w| {
        let of = match project.map(|p| find(w, p)) {
            Some(None) => return missing(),
            Some(Some(p)) => Some(p.id),
            None => None,
        };
        match w.find_move(id).filter(|m| of.is_none_or(|of| m.project == of)) {
            Some(m) => Json(entity::storage_move(w, m)).into_response(),
            None => message(StatusCode::NOT_FOUND, "404 Not found"),
        }
    })
}

/// `GET /project_repository_storage_moves/:move_id`.
pub(super) async fn move_by_id(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Path(id): Path<String>,
) -> Response {
    one_move(&app, user, None, &id)
}

/// `GET /projects/:id/repository_storage_moves/:move_id`.
pub(super) async fn move_of(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Path((project, id)): Path<(String, String)>,
) -> Response {
    one_move(&app, user, Some(&project), &id)
}

fn body_field(body: &Bytes, parameters: &Parameters, name: &str) -> Option<String> {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let from_body = json.as_ref().and_then(|v| v.get(name)).and_then(Value::as_str).map(str::to_owned);
    let from_form = || {
        let mut pairs = url::form_urlencoded::parse(body);
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    from_body.or_else(|| if json.is_none() { from_form() } else { None }).or_else(|| parameters.get(name).cloned())
}

/// The storage that GitLab draws when none is named.
fn drawn(world: &World) -> String {
    let weights = world.weights();
    let mut place = Draw::new(world.spec.seed, 7_000_000 + world.move_count() as u64).below(weights.values().sum());
    for (name, weight) in &weights {
        if place < *weight {
            return name.to_string();
        }
        place -= weight;
    }
    weights.keys().next().map_or_else(String::new, ToString::to_string)
}

/// `POST /projects/:id/repository_storage_moves`.
pub(super) async fn schedule(
    State(app): State<App>,
    ConnectInfo(scissors): Wire,
    Extension(user): Extension<User>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
    body: Bytes,
) -> Response {
    if let Err(answer) = administrators_only(user) {
        return answer;
    }
    let named = body_field(&body, &parameters, "destination_storage_name");
    let now = app.fleet.now();
    let (lost, made) = app.fleet.world(|w| {
        let Some(project) = find(w, &id).map(|p| p.id) else { return (false, Err(ScheduleError::NotFound)) };
        let lost = w.strikes("lost_response");
        let destination = named.unwrap_or_else(|| drawn(w));
        let made = w.schedule(project, &destination, now).map(|m| m.id);
        (lost, made.map(|id| (id, w.find_move(id).map(|m| entity::storage_move(w, m)))))
    });
    app.fleet.wake();
    let answer = match made {
        Err(ScheduleError::NotFound) => missing(),
        Err(ScheduleError::Invalid(fields)) => {
            let mut messages: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (field, what) in fields {
                messages.entry(field).or_default().push(what);
            }
            (StatusCode::BAD_REQUEST, Json(json!({ "message": messages }))).into_response()
        }
        Ok((id, entity)) => {
            while app.fleet.world(|w| w.is_fast(id)) && !app.fleet.stop.is_cancelled() {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
            (StatusCode::CREATED, Json(entity)).into_response()
        }
    };
    if lost {
        cut(&scissors);
    }
    answer
}

fn cut(scissors: &Scissors) {
    scissors.cut();
}

/// `POST /project_repository_storage_moves`: the whole storage at once, without an id to follow.
pub(super) async fn schedule_all(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Query(parameters): Query<Parameters>,
    body: Bytes,
) -> Response {
    if let Err(answer) = administrators_only(user) {
        return answer;
    }
    let Some(source) = body_field(&body, &parameters, "source_storage_name") else {
        return error(StatusCode::BAD_REQUEST, "source_storage_name is missing");
    };
    let destination = body_field(&body, &parameters, "destination_storage_name");
    let now = app.fleet.now();
    let known = app.fleet.world(|w| {
        let Some(source) = w.known.iter().find(|k| k.as_str() == source).cloned() else {
            return Err("source_storage_name does not have a valid value");
        };
        if destination.as_ref().is_some_and(|d| !w.known.iter().any(|k| k.as_str() == d)) {
            return Err("destination_storage_name does not have a valid value");
        }
        let ids: Vec<u64> = w.projects_after(Some(&source), 0).map(|p| p.id).collect();
        for id in ids {
            let destination = destination.clone().unwrap_or_else(|| drawn(w));
            drop(w.schedule(id, &destination, now).map(|m| m.id));
        }
        Ok(())
    });
    app.fleet.wake();
    match known {
        Ok(()) => message(StatusCode::ACCEPTED, "202 Accepted"),
        Err(text) => error(StatusCode::BAD_REQUEST, text),
    }
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
            let Some(p) = find(w, &id).cloned() else { return missing() };
            if p.read_only {
                let text = "403 Forbidden - The repository is temporarily read-only. Please try again later.";
                return message(StatusCode::FORBIDDEN, text);
            }
            if p.archived {
                return message(StatusCode::FORBIDDEN, "403 Forbidden");
            }
            let path = relative_path(Container { kind: ContainerKind::Project, id: p.id }, RepositoryRole::Main);
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
