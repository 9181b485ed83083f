//! Version, token and application settings.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{App, User, administrators_only, error, message, unknown};
use crate::sandbox::world::Ability;

const WEIGHTS: &str = "repository_storages_weighted";

fn revision(app: &App) -> (String, Value) {
    let version = app.fleet.world(|w| w.gitlab_version());
    (version, json!("5a4db0x0000"))
}

/// `GET /metadata`.
pub(super) async fn metadata(State(app): State<App>) -> Response {
    let release = app.fleet.world(|w| w.release);
    if !release.can(Ability::Metadata) {
        return unknown().await;
    }
    let (version, revision) = revision(&app);
    let mut answer = json!({ "version": version, "revision": revision });
    if release.can(Ability::TellsEdition) {
        answer["enterprise"] = json!(release.enterprise);
    }
    Json(answer).into_response()
}

/// `GET /version`.
pub(super) async fn version(State(app): State<App>) -> Response {
    let (version, revision) = revision(&app);
    Json(json!({ "version": version, "revision": revision })).into_response()
}

/// `GET /personal_access_tokens/self`.
pub(super) async fn token(State(app): State<App>, Extension(user): Extension<User>) -> Response {
    if !app.fleet.world(|w| w.release.can(Ability::TokenSelf)) {
        return unknown().await;
    }
    let (id, scopes) = match user {
        User::Administrator => (1, json!(["api", "admin_mode"])),
        User::Ordinary => (2, json!(["api"])),
    };
    Json(json!({
        "id": id, "name": "sandbox", "revoked": false, "active": true, "scopes": scopes, "user_id": id,
        "created_at": "2024-01-01T00:00:00.000Z", "last_used_at": null, "expires_at": null,
    }))
    .into_response()
}

fn settings(app: &App) -> Response {
    let weights = app.fleet.world(|w| w.weights());
    Json(json!({
        "id": 1,
        "default_projects_limit": 100_000,
        "signup_enabled": false,
        "default_branch_name": "main",
        "hashed_storage_enabled": true,
        (WEIGHTS): weights,
    }))
    .into_response()
}

/// `GET /application/settings`.
pub(super) async fn show(State(app): State<App>, Extension(user): Extension<User>) -> Response {
    match administrators_only(user) {
        Ok(()) => settings(&app),
        Err(answer) => answer,
    }
}

/// What Rails makes of a weight: text becomes its leading number or 0; what cannot be coerced is `None`.
fn coerce(value: &Value) -> Option<i64> {
    match value {
        Value::Number(n) => n.as_i64().or_else(|| {
            #[expect(clippy::cast_possible_truncation, reason = "saturates, as wanted")]
            n.as_f64().map(|f| f as i64)
        }),
        Value::String(text) => {
            let end = text.char_indices().find(|(i, c)| !(c.is_ascii_digit() || (*i == 0 && *c == '-')));
            let digits = end.map_or(text.as_str(), |(i, _)| text.get(..i).unwrap_or_default());
            Some(digits.parse().unwrap_or(0))
        }
        Value::Null => Some(0),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `PUT /application/settings`: the whole map of weights is replaced.
pub(super) async fn put(State(app): State<App>, Extension(user): Extension<User>, body: axum::body::Bytes) -> Response {
    if let Err(answer) = administrators_only(user) {
        return answer;
    }
    let Ok(body) = serde_json::from_slice::<Map<String, Value>>(&body) else {
        return error(StatusCode::BAD_REQUEST, "The request body is not a JSON object");
    };
    let map = match body.get(WEIGHTS) {
        None => {
            let known = ["default_projects_limit", "signup_enabled", "default_branch_name"];
            if known.iter().any(|name| body.contains_key(*name)) {
                return settings(&app);
            }
            let text = format!(
                "default_projects_limit, signup_enabled, {WEIGHTS} are missing, at least one parameter must be provided"
            );
            return error(StatusCode::BAD_REQUEST, &text);
        }
        Some(Value::Object(map)) => map,
        Some(_) => return error(StatusCode::BAD_REQUEST, &format!("{WEIGHTS} is invalid")),
    };
    let coerced: Option<BTreeMap<String, i64>> = map.iter().map(|(k, v)| Some((k.clone(), coerce(v)?))).collect();
    let Some(weights) = coerced else {
        return message(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error");
    };
    match app.fleet.world(|w| w.put_weights(&weights)) {
        Ok(()) => settings(&app),
        Err(errors) => (StatusCode::BAD_REQUEST, Json(json!({ "message": { (WEIGHTS): errors } }))).into_response(),
    }
}
