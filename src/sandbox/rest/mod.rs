//! GitLab's REST API over the world, as plain HTTP/1: routes, who may ask, and what faults do to a request.

mod entity;
mod moves;
mod others;
mod page;
mod projects;
mod settings;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::PodNeeds;
use super::fleet::Fleet;
use super::kubernetes::PodFacts;
use super::process::Post;
use super::world::{Admission, Quota, Refusal};
use crate::model::{Container, ContainerKind, StorageName};

/// A user who is no administrator.
const USER_TOKEN: &str = "glpat-sandbox-user";

/// What every handler has.
#[derive(Clone)]
struct App {
    fleet: Arc<Fleet>,
    post: Arc<Post>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Administrator,
    Ordinary,
}

/// A connection that a fault can cut before its answer.
pub(super) struct Connection {
    stream: TcpStream,
    cut: Scissors,
}

/// Cuts a connection.
#[derive(Clone, Default)]
pub(super) struct Scissors(Arc<AtomicBool>);

impl Scissors {
    /// Nothing more is sent: the client sees the connection reset.
    pub(super) fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> std::io::Result<()> {
        if self.0.load(Ordering::SeqCst) { Err(std::io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.cut.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Listens, and gives each connection scissors.
pub(super) struct Door(pub(super) TcpListener);

impl axum::serve::Listener for Door {
    type Io = Connection;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Connection, Self::Addr) {
        let (stream, address) = axum::serve::Listener::accept(&mut self.0).await;
        drop(stream.set_nodelay(true));
        (Connection { stream, cut: Scissors::default() }, address)
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Door>> for Scissors {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().cut.clone()
    }
}

/// Serves until the fleet ends.
pub(super) async fn serve(fleet: Arc<Fleet>, post: Arc<Post>, listener: TcpListener) {
    let stop = fleet.stop.clone();
    let app = App { fleet, post };
    let service = router(app).into_make_service_with_connect_info::<Scissors>();
    let served = axum::serve(Door(listener), service).with_graceful_shutdown(stop.clone().cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the sandbox's GitLab ended");
        stop.cancel();
    }
}

fn router(app: App) -> Router {
    let api = Router::new()
        .route("/metadata", get(settings::metadata))
        .route("/version", get(settings::version))
        .route("/personal_access_tokens/self", get(settings::token))
        .route("/application/settings", get(settings::show).put(settings::put))
        .route("/projects", get(projects::list))
        .route("/projects/{id}", get(projects::show))
        .route("/projects/{id}/storage", get(projects::storage))
        .route("/projects/{id}/repository/commits", post(projects::commit))
        .route("/snippets/all", get(others::snippets))
        .route("/snippets/{id}", get(others::snippet))
        .route("/groups", get(others::groups))
        .route("/groups/{id}", get(others::group))
        .merge(moves::router(ContainerKind::Project))
        .merge(moves::router(ContainerKind::Snippet))
        .merge(moves::router(ContainerKind::GroupWiki))
        .fallback(unknown)
        .layer(middleware::from_fn_with_state(app.clone(), admit));
    Router::new()
        .nest("/api/v4", api)
        .route("/-/sandbox/alive", get(async || "alive"))
        .route("/-/sandbox/adopt", post(adopt))
        .route("/-/sandbox/repair", post(repair))
        .route("/-/sandbox/pods", post(pods))
        .route("/-/sandbox/relay", post(relay))
        .route("/-/sandbox/know", post(know))
        .route("/-/sandbox/labels", post(labels))
        .route("/-/sandbox/stop", post(stop))
        .layer(middleware::from_fn_with_state(app.clone(), own))
        .with_state(app)
}

/// `{"message": …}` with a status.
fn message(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "message": text }))).into_response()
}

/// `{"error": …}` with a status: what the API's framework itself says of parameters.
fn error(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}

async fn unknown() -> Response {
    error(StatusCode::NOT_FOUND, "404 Not Found")
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    text("private-token").or_else(|| text("authorization").and_then(|v| v.strip_prefix("Bearer ")))
}

/// The endpoints under `/-/sandbox` are for this fleet's own clients, and for this very process.
async fn own(State(app): State<App>, request: Request, next: Next) -> Response {
    app.fleet.touch();
    if request.uri().path().starts_with("/-/") {
        let pid = request.headers().get("x-sandbox-pid").and_then(|v| v.to_str().ok());
        let ours = presented(request.headers()) == Some(&app.fleet.gitlab_token)
            && pid == Some(std::process::id().to_string().as_str());
        if !ours {
            return message(StatusCode::UNAUTHORIZED, "401 Unauthorized");
        }
    }
    let response = next.run(request).await;
    app.fleet.touch();
    response
}

/// What stands before every request: limits and ordered faults, then the token.
async fn admit(State(app): State<App>, mut request: Request, next: Next) -> Response {
    // A client counts its own seconds, whatever the fleet's clock does.
    let (asked, now) = (jiff::Timestamp::now(), app.fleet.now());
    let Admission { refused, quota } =
        app.fleet.world(|w| w.admit(request.method().as_str(), request.uri().path(), asked, now));
    let mut response = match (refused, presented(request.headers())) {
        (Some(refused), _) => refusal(refused),
        (None, Some(token)) if token == app.fleet.gitlab_token => {
            request.extensions_mut().insert(User::Administrator);
            next.run(request).await
        }
        (None, Some(USER_TOKEN)) => {
            request.extensions_mut().insert(User::Ordinary);
            next.run(request).await
        }
        (None, _) => message(StatusCode::UNAUTHORIZED, "401 Unauthorized"),
    };
    if let Some(quota) = quota {
        tell(response.headers_mut(), &quota);
    }
    response
}

fn refusal(refused: Refusal) -> Response {
    match refused {
        Refusal::Error => message(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error"),
        Refusal::Endpoint => {
            let text = "This endpoint has been requested too many times. Try again later.";
            let body = json!({ "message": { "error": text } });
            (StatusCode::TOO_MANY_REQUESTS, Json(body)).into_response()
        }
        Refusal::Middleware(quota) => {
            let reset = quota.reset.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            let headers = [("retry-after", quota.retry_after.to_string()), ("ratelimit-resettime", reset)];
            let mut response = (StatusCode::TOO_MANY_REQUESTS, headers, "Retry later\n").into_response();
            tell(response.headers_mut(), &quota);
            response
        }
    }
}

/// The headers that tell of the middleware's limit.
fn tell(headers: &mut HeaderMap, quota: &Quota) {
    let Quota { limit, observed, remaining, reset, retry_after: _ } = quota;
    headers.insert("ratelimit-name", HeaderValue::from_static("throttle_authenticated_api"));
    let figures = [
        ("ratelimit-limit", *limit),
        ("ratelimit-observed", *observed),
        ("ratelimit-remaining", *remaining),
        ("ratelimit-reset", reset.as_second().unsigned_abs()),
    ];
    for (name, figure) in figures {
        headers.insert(name, HeaderValue::from(figure));
    }
}

/// What a person does at GitLab's console for a container that GitLab has left read-only.
async fn repair(State(app): State<App>, body: Bytes) -> Response {
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    let container = match Container::try_from(text) {
        Ok(container) => container,
        Err(e) => return error(StatusCode::BAD_REQUEST, &e.to_string()),
    };
    match app.fleet.world(|w| w.repair(container)) {
        Some(ended) => Json(ended).into_response(),
        None => moves::missing(container.kind),
    }
}

async fn adopt(State(app): State<App>, body: Bytes) -> Response {
    let wanted: crate::model::SandboxConnection = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(e) => return error(StatusCode::BAD_REQUEST, &e.to_string()),
    };
    if let Err(e) = app.fleet.world(|w| super::compare(&w.spec, &wanted)) {
        let what = e.message.split_once(": ").map_or(e.message.as_str(), |(_, what)| what);
        return (StatusCode::CONFLICT, what.to_owned()).into_response();
    }
    let adopted = match app.fleet.adopt(&wanted) {
        Ok(()) => app.post.serve_storages(&app.fleet).await,
        Err(e) => Err(e),
    };
    match adopted {
        Ok(()) => Json(app.post.endpoints()).into_response(),
        Err(e) => error(StatusCode::INTERNAL_SERVER_ERROR, &e.message),
    }
}

/// Takes up the storages that will be in pods, and puts into the cluster what their operator would have put there.
async fn pods(State(app): State<App>, Json(needs): Json<PodNeeds>) -> Response {
    let now = app.fleet.now();
    app.fleet.world(|w| w.cluster(|c| c.meet(&needs, now)));
    app.post.expect(needs.storages);
    match app.post.serve_storages(&app.fleet).await {
        Ok(()) => Json(app.post.endpoints()).into_response(),
        Err(e) => error(StatusCode::INTERNAL_SERVER_ERROR, &e.message),
    }
}

/// Takes up what pods another cluster has.
async fn relay(State(app): State<App>, Json(pods): Json<BTreeMap<StorageName, PodFacts>>) -> Response {
    let now = app.fleet.now();
    app.fleet.world(|w| w.relay(pods));
    // Who told it may ask them at once.
    for _ in 0..3 {
        let jobs = app.fleet.world(|w| w.tick(now));
        app.fleet.carry_out(jobs).await;
    }
    match app.post.serve_storages(&app.fleet).await {
        Ok(()) => Json(json!({})).into_response(),
        Err(e) => error(StatusCode::INTERNAL_SERVER_ERROR, &e.message),
    }
}

/// What an administrator does in GitLab's configuration for a storage that is new.
async fn know(State(app): State<App>, Json(storage): Json<StorageName>) -> Response {
    if app.fleet.world(|w| w.learn(&storage)) {
        return Json(json!({})).into_response();
    }
    error(StatusCode::NOT_FOUND, &format!("there is no storage {storage} that GitLab could be told of"))
}

/// Takes up the Prometheus labels that a configuration declares.
async fn labels(
    State(app): State<App>,
    Json(labels): Json<BTreeMap<StorageName, BTreeMap<String, String>>>,
) -> Response {
    app.fleet.world(|w| w.label(labels));
    Json(json!({})).into_response()
}

async fn stop(State(app): State<App>) -> Response {
    app.fleet.stop.cancel();
    message(StatusCode::ACCEPTED, "202 Accepted")
}

/// Refuses whoever is no administrator.
#[expect(clippy::result_large_err, reason = "the answer is the error")]
fn administrators_only(user: User) -> Result<(), Response> {
    match user {
        User::Administrator => Ok(()),
        User::Ordinary => Err(message(StatusCode::FORBIDDEN, "403 Forbidden")),
    }
}

type Wire = ConnectInfo<Scissors>;
