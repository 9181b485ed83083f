//! The API over HTTP: paths, parameters, discovery, who may ask, and what faults do to a request.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::kinds::{KINDS, Kind, kind_of, resource};
use super::rights::{Act, User, resource_of, token_request};
use super::status::Refused;
use super::store::VERSION;
use super::values::{set, text};
use super::verbs::{Deletion, Done, Options, Patch, Place};
use crate::sandbox::fleet::Fleet;
use crate::sandbox::rest::{Door, Scissors};

/// The largest object that the server takes.
const MOST: usize = 3 << 20;

/// Serves until the fleet ends.
pub(in crate::sandbox) async fn serve(fleet: Arc<Fleet>, listener: TcpListener) {
    let stop = fleet.stop.clone();
    let app = Router::new().fallback(answer).with_state(fleet);
    let service = app.into_make_service_with_connect_info::<Scissors>();
    let served = axum::serve(Door(listener), service).with_graceful_shutdown(stop.clone().cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the sandbox's Kubernetes ended");
        stop.cancel();
    }
}

/// What a request asks for.
struct Asked<'a> {
    method: &'a Method,
    path: &'a str,
    query: Vec<(String, String)>,
    headers: &'a HeaderMap,
    body: &'a [u8],
}

impl Asked<'_> {
    fn parameter(&self, name: &str) -> &str {
        self.query.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    fn options(&self) -> Options {
        let agent = self.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("unknown");
        let manager = match self.parameter("fieldManager") {
            // An apply must name one; for the rest the client's name will do.
            "" if self.is_apply() => String::new(),
            "" => agent.split('/').next().unwrap_or(agent).to_owned(),
            manager => manager.to_owned(),
        };
        Options {
            manager,
            force: self.parameter("force") == "true",
            dry_run: self.parameter("dryRun") == "All",
            strict: self.parameter("fieldValidation") == "Strict",
        }
    }

    fn media_type(&self) -> &str {
        let text = self.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        text.split(';').next().unwrap_or_default().trim()
    }

    fn is_apply(&self) -> bool {
        self.method == Method::PATCH && self.media_type() == "application/apply-patch+yaml"
    }

    /// True for what changes something.
    fn writes(&self) -> bool {
        !matches!(*self.method, Method::GET) && !self.path.starts_with("/apis/authorization.k8s.io/")
    }

    fn json(&self) -> Result<Value, Refused> {
        serde_json::from_slice(self.body).map_err(|error| {
            let what = if self.is_apply() { "error decoding YAML: " } else { "" };
            Refused::bad_request(format!("{what}{error}"))
        })
    }

    fn deletion(&self) -> Result<Deletion, Refused> {
        let options = if self.body.is_empty() { Value::Null } else { self.json()? };
        // An eviction has them inside.
        let options = options.get("deleteOptions").cloned().unwrap_or(options);
        let policy = match text(&options, "/propagationPolicy") {
            "" => self.parameter("propagationPolicy"),
            policy => policy,
        };
        let known = ["Foreground", "Background", "Orphan"];
        if !policy.is_empty() && !known.contains(&policy) {
            let fault = super::status::Fault::unsupported(
                "propagationPolicy",
                &policy.into(),
                &["Foreground", "Background", "Orphan", "nil"],
            );
            return Err(Refused::invalid_options("DeleteOptions", &[fault]));
        }
        let given = |pointer: &str| Some(text(&options, pointer).to_owned()).filter(|t| !t.is_empty());
        let grace = options.get("gracePeriodSeconds").and_then(Value::as_i64);
        Ok(Deletion {
            orphan: policy == "Orphan",
            uid: given("/preconditions/uid"),
            resource_version: given("/preconditions/resourceVersion"),
            grace: grace.or_else(|| self.parameter("gracePeriodSeconds").parse().ok()),
            dry_run: self.parameter("dryRun") == "All"
                || options.pointer("/dryRun/0").and_then(Value::as_str) == Some("All"),
        })
    }
}

async fn answer(State(fleet): State<Arc<Fleet>>, wire: ConnectInfo<Scissors>, request: Request<Body>) -> Response {
    fleet.touch();
    let (parts, body) = request.into_parts();
    if fleet.world(|w| w.strikes("api_away")) {
        wire.0.cut();
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let body: Bytes = match axum::body::to_bytes(body, MOST).await {
        Ok(body) => body,
        Err(_) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
    };
    let query = parts.uri.query().unwrap_or_default();
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let path = parts.uri.path().to_owned();
    let asked = Asked { method: &parts.method, path: &path, query, headers: &parts.headers, body: &body };
    let done = user(&fleet, &asked).and_then(|user| fleet_answers(&fleet, &asked, &user));
    fleet.wake();
    fleet.touch();
    let (code, body) = match done {
        Ok(done) => done,
        Err(refused) if refused == unknown_path() => {
            return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
        }
        Err(refused) => (refused.code, refused.to_json()),
    };
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, axum::Json(body)).into_response()
}

/// The 404 of a path under which there is nothing: no `Status`, but a line of text.
fn unknown_path() -> Refused {
    Refused { message: "404 page not found".to_owned(), ..Refused::no_resource() }
}

fn user(fleet: &Fleet, asked: &Asked<'_>) -> Result<User, Refused> {
    let header = asked.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let token = header.and_then(|h| h.strip_prefix("Bearer ")).unwrap_or_default();
    User::of_token(token, &fleet.cluster_token).ok_or_else(Refused::unauthenticated)
}

fn fleet_answers(fleet: &Fleet, asked: &Asked<'_>, user: &User) -> Done {
    let parts: Vec<&str> = asked.path.split('/').filter(|part| !part.is_empty()).collect();
    let reads = *asked.method == Method::GET;
    match parts.as_slice() {
        ["version"] if reads => Ok((200, version())),
        ["healthz" | "readyz" | "livez", ..] if reads => Ok((200, "ok".into())),
        ["api"] if reads => Ok((200, json!({ "kind": "APIVersions", "versions": ["v1"] }))),
        ["apis"] if reads => Ok((200, groups())),
        ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"] => review(fleet, asked, user),
        ["api", "v1"] if reads => Ok((200, resources("", "v1"))),
        ["apis", group, version] if reads && KINDS.iter().any(|k| k.group == *group) => {
            Ok((200, resources(group, version)))
        }
        ["api", "v1", rest @ ..] => objects(fleet, asked, user, "", "v1", rest),
        ["apis", group, version, rest @ ..] if KINDS.iter().any(|k| k.group == *group) => {
            objects(fleet, asked, user, group, version, rest)
        }
        _ => Err(unknown_path()),
    }
}

/// Says whether the user may do something.
fn review(fleet: &Fleet, asked: &Asked<'_>, user: &User) -> Done {
    let mut review = asked.json()?;
    let of = |field: &str| text(&review, &format!("/spec/resourceAttributes/{field}")).to_owned();
    let (verb, group, namespace, name) = (of("verb"), of("group"), of("namespace"), of("name"));
    let subresource = Some(of("subresource")).filter(|s| !s.is_empty());
    let resource = subresource.map_or_else(|| of("resource"), |sub| format!("{}/{sub}", of("resource")));
    let act = Act { verb: &verb, group: &group, resource: &resource, namespace: &namespace, name: &name };
    let allowed = fleet.world(|w| w.cluster(|c| user.may(c, act)));
    set(&mut review, &["metadata"], json!({}));
    set(&mut review, &["status"], json!({ "allowed": allowed }));
    Ok((201, review))
}

/// Objects of a group: `[namespaces/NAMESPACE/]RESOURCE[/NAME[/SUBRESOURCE]]`.
fn objects(fleet: &Fleet, asked: &Asked<'_>, user: &User, group: &str, version: &str, path: &[&str]) -> Done {
    let (namespace, path) = match path {
        ["namespaces", namespace, resource, rest @ ..] if self::resource(group, version, resource).is_some() => {
            (*namespace, [&[*resource], rest].concat())
        }
        path => ("", path.to_vec()),
    };
    let [plural, rest @ ..] = path.as_slice() else { return Err(Refused::no_resource()) };
    let kind = resource(group, version, plural).ok_or_else(Refused::no_resource)?;
    let (name, subresource) = (rest.first().copied().unwrap_or_default(), rest.get(1).copied());
    let resource = resource_of(kind, subresource);
    let act = Act { verb: verb(asked.method, name), group, resource: &resource, namespace, name };
    let options = asked.options();
    let struck = asked.writes() && !options.dry_run && fleet.world(|w| w.strikes("rbac_forbidden"));
    if struck || !fleet.world(|w| w.cluster(|c| user.may(c, act))) {
        return Err(Refused::unauthorised(kind, user, act));
    }
    let now = fleet.now();
    let place = Place { kind, namespace, name };
    match (asked.method, rest) {
        (&Method::GET, []) => {
            if asked.parameter("watch") == "true" {
                return Err(Refused::no_method());
            }
            let within = Some(namespace).filter(|n| !n.is_empty());
            Ok((200, fleet.world(|w| w.cluster(|c| c.list(kind, within, filter(asked))))))
        }
        (&Method::POST, []) => {
            let object = asked.json()?;
            fleet.world(|w| w.cluster(|c| c.create(place, object, &options, now)))
        }
        (&Method::DELETE, []) => {
            let how = asked.deletion()?;
            fleet.world(|w| w.cluster(|c| c.delete_all(kind, namespace, filter(asked), &how, now)))
        }
        (_, [_]) => one(fleet, asked, place, &options),
        (&Method::POST, [_, "eviction"]) if kind.kind == "Pod" => {
            let how = asked.deletion()?;
            fleet.world(|w| w.cluster(|c| c.evict(place, &how, now)))
        }
        (&Method::POST, [_, "token"]) if kind.kind == "ServiceAccount" => {
            fleet.world(|w| w.cluster(|c| c.get(place)))?;
            let request = asked.json()?;
            let until = now + jiff::SignedDuration::from_hours(1);
            let answer = token_request(request, namespace, name, &fleet.cluster_token, super::store::written(until));
            Ok((201, answer))
        }
        (&Method::GET, [_, "status"]) if kind.status => {
            fleet.world(|w| w.cluster(|c| c.get(place))).map(|object| (200, object))
        }
        (_, [_, _, ..]) => Err(Refused::no_resource()),
        _ => Err(Refused::no_method()),
    }
}

/// A request on one object.
fn one(fleet: &Fleet, asked: &Asked<'_>, place: Place<'_>, options: &Options) -> Done {
    let now = fleet.now();
    match (asked.method, asked.media_type()) {
        (&Method::GET, _) => fleet.world(|w| w.cluster(|c| c.get(place))).map(|object| (200, object)),
        (&Method::PUT, _) => {
            let object = asked.json()?;
            fleet.world(|w| w.cluster(|c| c.replace(place, object, options, now)))
        }
        (&Method::DELETE, _) => {
            let how = asked.deletion()?;
            fleet.world(|w| w.cluster(|c| c.delete(place, &how, now)))
        }
        (&Method::PATCH, "application/apply-patch+yaml") => {
            let patch = asked.json()?;
            fleet.world(|w| w.cluster(|c| c.apply(place, &patch, options, now)))
        }
        (&Method::PATCH, media) => {
            let how = match media {
                "application/merge-patch+json" => Patch::Merge,
                "application/strategic-merge-patch+json" => Patch::Strategic,
                _ => return Err(Refused::no_media_type()),
            };
            let patch = asked.json()?;
            fleet.world(|w| w.cluster(|c| c.patch(place, &patch, how, options, now)))
        }
        _ => Err(Refused::no_method()),
    }
}

/// The verb of a request, as RBAC calls it.
fn verb(method: &Method, name: &str) -> &'static str {
    match *method {
        Method::GET if name.is_empty() => "list",
        Method::DELETE if name.is_empty() => "deletecollection",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// What `labelSelector` and `fieldSelector` take: terms `a=b`, `a==b`, `a!=b`, `a`, `!a`.
fn filter(asked: &Asked<'_>) -> impl Fn(&Value) -> bool + use<> {
    let terms = |parameter: &str| -> Vec<(String, Option<String>, bool)> {
        let words = asked.parameter(parameter).split(',').filter(|word| !word.is_empty());
        let term = |word: &str| {
            if let Some((key, value)) = word.split_once("!=") {
                return (key.to_owned(), Some(value.to_owned()), false);
            }
            match word.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.trim_start_matches('=').to_owned()), true),
                None => {
                    word.strip_prefix('!').map_or((word.to_owned(), None, true), |key| (key.to_owned(), None, false))
                }
            }
        };
        words.map(term).collect()
    };
    let (labels, fields) = (terms("labelSelector"), terms("fieldSelector"));
    move |object| {
        let holds = |found: Option<&str>, (_, wanted, equal): &(String, Option<String>, bool)| match wanted {
            Some(wanted) => (found.unwrap_or_default() == wanted) == *equal,
            None => found.is_some() == *equal,
        };
        let label = |key: &str| object.pointer("/metadata/labels").and_then(|l| l.get(key)).and_then(Value::as_str);
        let field = |key: &str| object.pointer(&format!("/{}", key.replace('.', "/"))).and_then(Value::as_str);
        labels.iter().all(|term| holds(label(&term.0), term)) && fields.iter().all(|term| holds(field(&term.0), term))
    }
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "34", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "linux/amd64",
    })
}

fn groups() -> Value {
    let mut found: Map<String, Value> = Map::new();
    for kind in KINDS.iter().filter(|k| !k.group.is_empty()) {
        let version = json!({ "groupVersion": kind.api_version(), "version": kind.version });
        let group = json!({ "name": kind.group, "versions": [version], "preferredVersion": version });
        found.insert(kind.group.to_owned(), group);
    }
    let groups: Vec<Value> = found.into_iter().map(|(_, group)| group).collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

fn resources(group: &str, version: &str) -> Value {
    let verbs = ["create", "delete", "get", "list", "patch", "update"];
    let describe = |kind: &Kind| {
        json!({
            "name": kind.plural, "singularName": kind.kind.to_lowercase(), "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": verbs, "shortNames": kind.short,
        })
    };
    let mut resources: Vec<Value> =
        KINDS.iter().filter(|k| k.group == group && k.version == version).map(describe).collect();
    if kind_of("Pod").is_some_and(|pod| pod.group == group) {
        let eviction = json!({
            "name": "pods/eviction", "singularName": "", "namespaced": true, "group": "policy", "version": "v1",
            "kind": "Eviction", "verbs": ["create"],
        });
        resources.push(eviction);
    }
    let name = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": resources })
}
