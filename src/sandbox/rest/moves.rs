//! The three families of moves: of projects, of snippets, of group wikis.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Extension, Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::page::{Parameters, full, offset};
use super::{App, User, Wire, administrators_only, entity, error, message, unknown};
use crate::model::{Container, ContainerKind};
use crate::sandbox::world::{ScheduleError, World, family};

/// The routes of one family.
pub(super) fn router(kind: ContainerKind) -> Router<App> {
    let containers = format!("/{}s/{{id}}/repository_storage_moves", family(kind));
    let all = format!("/{}_repository_storage_moves", family(kind));
    Router::new()
        .route(&containers, get(of_container).post(schedule))
        .route(&format!("{containers}/{{move_id}}"), get(one_of_container))
        .route(&all, get(of_family).post(schedule_all))
        .route(&format!("{all}/{{move_id}}"), get(one_of_family))
        .layer(Extension(kind))
}

/// GitLab's words for a container that is not there.
pub(super) fn missing(kind: ContainerKind) -> Response {
    let what = match kind {
        ContainerKind::Project => "Project",
        ContainerKind::Snippet => "Snippet",
        ContainerKind::GroupWiki => "Group",
    };
    message(StatusCode::NOT_FOUND, &format!("404 {what} Not Found"))
}

/// A container by its id or its path (which arrives decoded). Those that wait for their deletion count.
fn find(world: &World, kind: ContainerKind, id: &str) -> Option<Container> {
    let id = match (id.parse::<u64>(), kind) {
        (Ok(id), _) => world.housed(Container { kind, id }).map(|_| id),
        (Err(_), ContainerKind::Project) => world.project_by_path(id).map(|p| p.id),
        (Err(_), ContainerKind::GroupWiki) => world.group_by_path(id).map(|g| g.id),
        (Err(_), ContainerKind::Snippet) => None,
    };
    id.map(|id| Container { kind, id })
}

/// Refuses whoever is no administrator, and an edition or version without such moves.
async fn allowed(app: &App, user: User, kind: ContainerKind) -> Result<(), Response> {
    if !app.fleet.world(|w| w.moves_kind(kind)) {
        return Err(unknown().await);
    }
    administrators_only(user)
}

/// `GET /projects/:id/repository_storage_moves` and its like.
async fn of_container(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Extension(kind): Extension<ContainerKind>,
    Path(id): Path<String>,
    uri: Uri,
    Query(parameters): Query<Parameters>,
) -> Response {
    if let Err(answer) = allowed(&app, user, kind).await {
        return answer;
    }
    let url = app.post.endpoints().gitlab_url;
    app.fleet.world(|w| {
        let Some(container) = find(w, kind, &id) else { return missing(kind) };
        let total = w.moves_of(container).count() as u64;
        offset(&app, &full(&uri), &parameters, total, |skip, take| {
            let rows = w.moves_of(container).skip(skip).take(take);
            Some(rows.map(|m| entity::storage_move(w, m, &url)).collect())
        })
    })
}

/// `GET /project_repository_storage_moves` and its like.
async fn of_family(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Extension(kind): Extension<ContainerKind>,
    uri: Uri,
    Query(parameters): Query<Parameters>,
) -> Response {
    if let Err(answer) = allowed(&app, user, kind).await {
        return answer;
    }
    let url = app.post.endpoints().gitlab_url;
    app.fleet.world(|w| {
        offset(&app, &full(&uri), &parameters, w.move_count(kind), |skip, take| {
            Some(w.moves(kind).skip(skip).take(take).map(|m| entity::storage_move(w, m, &url)).collect())
        })
    })
}

async fn one_move(app: &App, user: User, kind: ContainerKind, container: Option<&str>, id: &str) -> Response {
    if let Err(answer) = allowed(app, user, kind).await {
        return answer;
    }
    let Ok(id) = id.parse() else { return error(StatusCode::BAD_REQUEST, "repository_storage_move_id is invalid") };
    let url = app.post.endpoints().gitlab_url;
    app.fleet.world(|w| {
        let of = match container.map(|c| find(w, kind, c)) {
            Some(None) => return missing(kind),
            Some(Some(container)) => Some(container),
            None => None,
        };
        match w.find_move(kind, id).filter(|m| of.is_none_or(|of| m.container == of)) {
            Some(m) => Json(entity::storage_move(w, m, &url)).into_response(),
            None => message(StatusCode::NOT_FOUND, "404 Not found"),
        }
    })
}

/// `GET /project_repository_storage_moves/:move_id` and its like.
async fn one_of_family(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Extension(kind): Extension<ContainerKind>,
    Path(id): Path<String>,
) -> Response {
    one_move(&app, user, kind, None, &id).await
}

/// `GET /projects/:id/repository_storage_moves/:move_id` and its like.
async fn one_of_container(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Extension(kind): Extension<ContainerKind>,
    Path((container, id)): Path<(String, String)>,
) -> Response {
    one_move(&app, user, kind, Some(&container), &id).await
}

/// A parameter from a JSON body, a form, or the query.
pub(super) fn body_field(body: &Bytes, parameters: &Parameters, name: &str) -> Option<String> {
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
    world.draw_storage().map_or_else(String::new, |name| name.to_string())
}

/// `POST /projects/:id/repository_storage_moves` and its like.
async fn schedule(
    State(app): State<App>,
    ConnectInfo(scissors): Wire,
    Extension(user): Extension<User>,
    Extension(kind): Extension<ContainerKind>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
    body: Bytes,
) -> Response {
    if let Err(answer) = allowed(&app, user, kind).await {
        return answer;
    }
    let named = body_field(&body, &parameters, "destination_storage_name");
    let now = app.fleet.now();
    let url = app.post.endpoints().gitlab_url;
    let (lost, made) = app.fleet.world(|w| {
        let Some(container) = find(w, kind, &id) else { return (false, Err(ScheduleError::NotFound)) };
        let lost = w.strikes("lost_response");
        let destination = named.unwrap_or_else(|| drawn(w));
        let made = w.schedule(container, &destination, now).map(|m| m.id);
        (lost, made.map(|id| (id, w.find_move(kind, id).map(|m| entity::storage_move(w, m, &url)))))
    });
    app.fleet.wake();
    let answer = match made {
        Err(ScheduleError::NotFound) => missing(kind),
        Err(ScheduleError::Invalid(fields)) => {
            let mut messages: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (field, what) in fields {
                messages.entry(field).or_default().push(what);
            }
            (StatusCode::BAD_REQUEST, Json(json!({ "message": messages }))).into_response()
        }
        Ok((id, entity)) => {
            while app.fleet.world(|w| w.is_fast(kind, id)) && !app.fleet.stop.is_cancelled() {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
            (StatusCode::CREATED, Json(entity)).into_response()
        }
    };
    if lost {
        scissors.cut();
    }
    answer
}

/// `POST /project_repository_storage_moves` and its like: the whole storage at once, without an id to follow.
async fn schedule_all(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Extension(kind): Extension<ContainerKind>,
    Query(parameters): Query<Parameters>,
    body: Bytes,
) -> Response {
    if let Err(answer) = allowed(&app, user, kind).await {
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
        for container in w.on_storage(kind, &source) {
            let destination = destination.clone().unwrap_or_else(|| drawn(w));
            drop(w.schedule(container, &destination, now).map(|m| m.id));
        }
        Ok(())
    });
    app.fleet.wake();
    match known {
        Ok(()) => message(StatusCode::ACCEPTED, "202 Accepted"),
        Err(text) => error(StatusCode::BAD_REQUEST, text),
    }
}
