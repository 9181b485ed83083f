//! Snippets and groups: what GitLab lists by offset only.

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};

use super::page::{Parameters, flag, full, offset};
use super::{App, User, entity, moves, unknown};
use crate::model::{ContainerKind, StorageName};
use crate::sandbox::world::{Ability, Group, Snippet};

/// The storage that a list is filtered by: `Some(None)` is one that nothing can be on. The filter is dropped without a
/// word for whoever is no administrator.
fn filter(parameters: &Parameters, user: User) -> Option<Option<StorageName>> {
    let wanted = parameters.get("repository_storage").filter(|_| user == User::Administrator)?;
    Some(StorageName::new(wanted.clone()).ok())
}

/// `GET /snippets/all`, newest first.
pub(super) async fn snippets(
    State(app): State<App>,
    Extension(user): Extension<User>,
    uri: Uri,
    Query(parameters): Query<Parameters>,
) -> Response {
    if !app.fleet.world(|w| w.release.can(Ability::AllSnippets)) {
        return unknown().await;
    }
    let url = app.post.endpoints().gitlab_url;
    app.fleet.world(|w| {
        let storage = filter(&parameters, user).filter(|_| w.release.can(Ability::SnippetFilter));
        let all: Vec<&Snippet> = match &storage {
            Some(None) => Vec::new(),
            Some(Some(storage)) => w.snippets(Some(storage)).rev().collect(),
            None => w.snippets(None).rev().collect(),
        };
        offset(&app, &full(&uri), &parameters, all.len() as u64, |skip, take| {
            Some(all.iter().skip(skip).take(take).map(|s| entity::snippet(w, s, user, &url)).collect())
        })
    })
}

/// `GET /snippets/:id`.
pub(super) async fn snippet(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Path(id): Path<String>,
) -> Response {
    let url = app.post.endpoints().gitlab_url;
    let found = app.fleet.world(|w| {
        let snippet = id.parse().ok().and_then(|id| w.snippet(id));
        snippet.map(|s| entity::snippet(w, s, user, &url))
    });
    found.map_or_else(|| moves::missing(ContainerKind::Snippet), |s| Json(s).into_response())
}

/// `GET /groups`.
pub(super) async fn groups(
    State(app): State<App>,
    Extension(user): Extension<User>,
    uri: Uri,
    Query(parameters): Query<Parameters>,
) -> Response {
    let url = app.post.endpoints().gitlab_url;
    let statistics = flag(&parameters, "statistics") == Some(true);
    app.fleet.world(|w| {
        let storage = filter(&parameters, user).filter(|_| w.release.can(Ability::GroupFilter));
        let mut all: Vec<&Group> = match &storage {
            Some(None) => Vec::new(),
            Some(Some(storage)) => w.groups(Some(storage)).collect(),
            None => w.groups(None).collect(),
        };
        match parameters.get("order_by").map(String::as_str) {
            Some("id") => {}
            Some("path") => all.sort_by_key(|g| (&g.path, g.id)),
            _ => all.sort_by_key(|g| (g.path.rsplit('/').next(), g.id)),
        }
        if parameters.get("sort").is_some_and(|sort| sort == "desc") {
            all.reverse();
        }
        offset(&app, &full(&uri), &parameters, all.len() as u64, |skip, take| {
            let rows = all.iter().skip(skip).take(take);
            Some(rows.map(|g| entity::group(w, g, user, statistics, &url)).collect())
        })
    })
}

/// `GET /groups/:id`.
pub(super) async fn group(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Response {
    let url = app.post.endpoints().gitlab_url;
    let statistics = flag(&parameters, "statistics") == Some(true);
    let found = app.fleet.world(|w| {
        let group = id.parse().ok().map_or_else(|| w.group_by_path(&id), |id| w.group(id));
        group.map(|g| entity::group(w, g, user, statistics, &url))
    });
    found.map_or_else(|| moves::missing(ContainerKind::GroupWiki), |g| Json(g).into_response())
}
