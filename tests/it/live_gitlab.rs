//! The adapter to GitLab against scripted answers on loopback.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tranship::apply::port::{Cursor, GitLab as _, Listing, PortError, PortErrorKind as Kind};
use tranship::live::gitlab::{Patience, RestGitLab};
use tranship::model::{Bytes, Container, ContainerKind, MoveState, StorageName, Weight};

use crate::live_fake::{FakeGitaly, Http, Reply, Seen, hasty, json, skipped, status};

const TOKEN: &str = "glpat-canary-7f3a9";

fn gitlab(url: &str) -> RestGitLab {
    RestGitLab::new(url, &SecretString::from(TOKEN), None).expect("valid").with_patience(hasty())
}

fn storage(name: &str) -> StorageName {
    StorageName::new(name).expect("valid")
}

fn project(id: u64) -> Container {
    Container { kind: ContainerKind::Project, id }
}

fn item(id: u64, storage: &str) -> String {
    format!(r#"{{"id":{id},"path_with_namespace":"web/p{id}","archived":false,"repository_storage":"{storage}"}}"#)
}

/// One page of the projects on `default`.
async fn projects(url: &str, after: u64) -> Result<Listing, PortError> {
    gitlab(url).list(ContainerKind::Project, &storage("default"), Cursor { after, ..Cursor::START }).await
}

/// All pages of a kind on `default`; the ids, each once.
async fn listed(gitlab: &RestGitLab, kind: ContainerKind) -> Result<BTreeSet<u64>, PortError> {
    let (mut found, mut at) = (BTreeSet::new(), Some(Cursor::START));
    while let Some(cursor) = at {
        let page = gitlab.list(kind, &storage("default"), cursor).await?;
        found.extend(page.found.into_iter().map(|r| r.container.id));
        at = page.next;
    }
    Ok(found)
}

/// No error may hold the token, in any form.
fn clean(error: PortError) -> PortError {
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(TOKEN), "{shown}");
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

async fn metadata_error(handler: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> (PortError, usize) {
    let fake = Http::start(handler).await;
    let error = gitlab(&fake.url).version().await.expect_err("an error");
    (clean(error), fake.seen().len())
}

#[tokio::test]
async fn the_token_travels_in_its_header_and_nowhere_else() {
    let fake = Http::start(|_, _| json(r#"{"version":"18.1.1-ee","revision":"x","enterprise":true}"#)).await;
    let gitlab = gitlab(&format!("{}/under/", fake.url));
    let version = gitlab.version().await.expect("well");
    assert_eq!((version.version.as_str(), version.enterprise), ("18.1.1-ee", Some(true)));
    let seen = fake.seen();
    assert_eq!(seen[0].target, "/under/api/v4/metadata");
    assert_eq!(seen[0].headers["private-token"], TOKEN);
    assert!(!format!("{gitlab:?}").contains(TOKEN));
}

#[tokio::test]
async fn old_gitlabs_are_asked_for_their_version_otherwise() {
    let fake = Http::start(|seen, _| match seen.path() {
        "/api/v4/version" => json(r#"{"version":"15.1.0","revision":"x"}"#),
        _ => status(404, r#"{"error":"404 Not Found"}"#),
    })
    .await;
    let version = gitlab(&fake.url).version().await.expect("well");
    assert_eq!((version.version.as_str(), version.enterprise), ("15.1.0", None));
}

#[tokio::test]
async fn a_proxys_page_is_told_from_gitlab() {
    let (error, asked) = metadata_error(|_, _| status(200, &format!("<html><h1>Sign in</h1>\n{TOKEN}</html>"))).await;
    assert_eq!(error.kind, Kind::Protocol);
    assert_eq!(asked, 1);
    assert!(error.message.contains("a page (text/html) instead of JSON: `<html><h1>Sign in</h1>"), "{error}");
    assert!(error.help.expect("help").contains("gitlab.url"));
}

#[tokio::test]
async fn a_cut_body_is_repeated_and_then_an_error() {
    let whole = r#"{"version":"18.1.1-ee","revision":"x","enterprise":true}"#;
    let (error, asked) = metadata_error(move |_, _| Reply::Cut(whole.to_owned())).await;
    assert_eq!((error.kind, asked), (Kind::Protocol, 4));
    assert!(error.message.contains("ends after"), "{error}");
    let fake = Http::start(move |_, n| if n == 0 { Reply::Cut(whole.to_owned()) } else { json(whole) }).await;
    assert!(gitlab(&fake.url).version().await.is_ok());
}

#[tokio::test]
async fn refusals_are_told_apart_and_not_repeated() {
    for (code, body, kind, text) in [
        (401, r#"{"message":"401 Unauthorized"}"#, Kind::Unauthenticated, "does not know the token"),
        (401, r#"{"error":"invalid_token","error_description":"Token is expired."}"#, Kind::Unauthenticated, "expired"),
        (403, r#"{"message":"403 Forbidden"}"#, Kind::Forbidden, "no administrator"),
        (
            403,
            r#"{"error":"insufficient_scope","error_description":"more","scope":"api"}"#,
            Kind::Forbidden,
            "asks for `api`",
        ),
        (302, "", Kind::Protocol, "redirected (302)"),
    ] {
        let (error, asked) = metadata_error(move |_, _| status(code, body)).await;
        assert_eq!((error.kind, asked), (kind, 1), "{code} {body}");
        assert!(error.message.contains(text), "{error}");
        assert!(error.help.is_some(), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_token() {
    let other = Http::start(|_, _| json("{}")).await;
    let to: &'static str = format!("location: {}/api/v4/metadata?secret=1\r\n", other.url).leak();
    let (error, _) = metadata_error(move |_, _| Reply::Full(301, to, String::new())).await;
    assert!(error.message.contains(&other.url) && !error.message.contains("secret"), "{error}");
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn trouble_that_passes_is_repeated() {
    for code in [409, 429, 500, 502, 503, 504] {
        let fake = Http::start(move |_, n| match n {
            0 | 1 => status(code, "<html>busy</html>"),
            _ => json(r#"{"version":"18.1.1-ee"}"#),
        })
        .await;
        assert!(gitlab(&fake.url).version().await.is_ok(), "{code}");
        assert_eq!(fake.seen().len(), 3);
    }
    let fake = Http::start(|_, n| if n == 0 { Reply::Nothing } else { json(r#"{"version":"18.1.1-ee"}"#) }).await;
    assert!(gitlab(&fake.url).version().await.is_ok());
}

#[tokio::test]
async fn retry_after_is_honoured_up_to_a_limit() {
    let fake = Http::start(|_, n| match n {
        0 => Reply::Full(429, "retry-after: 1\r\n", "Retry later\n".to_owned()),
        _ => json(r#"{"version":"18.1.1-ee"}"#),
    })
    .await;
    let began = Instant::now();
    assert!(gitlab(&fake.url).version().await.is_ok());
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());

    let (error, _) =
        metadata_error(|_, _| Reply::Full(429, "retry-after: 18446744073709551615\r\n", String::new())).await;
    assert_eq!(error.retry_after, Some(Duration::from_secs(u64::MAX)));
    let (error, asked) =
        metadata_error(|_, _| Reply::Full(429, "retry-after: 3600\r\n", "Retry later\n".to_owned())).await;
    assert_eq!((error.kind, error.retry_after, asked), (Kind::Transient, Some(Duration::from_secs(3600)), 1));
}

#[tokio::test]
async fn a_429_without_retry_after_ends_when_patience_does() {
    let (error, asked) = metadata_error(|_, _| status(429, r#"{"message":{"error":"Try again later."}}"#)).await;
    assert_eq!((error.kind, error.retry_after), (Kind::Transient, None));
    assert!(asked > 1, "{asked}");
    assert!(error.help.expect("help").contains("limits how often"));
}

#[tokio::test]
async fn a_limit_is_waited_out_and_the_list_goes_on() {
    use std::sync::{Arc, Mutex};
    let fake = Http::start(|seen, n| match n {
        1 | 2 => status(429, r#"{"message":{"error":"This endpoint has been requested too many times."}}"#),
        _ => {
            let after: u64 = seen.query("id_after").map_or(0, |v| v.parse().expect("a number"));
            let ids: Vec<_> = (after + 1..=3).take(1).map(|id| item(id, "default")).collect();
            json(format!("[{}]", ids.join(",")))
        }
    })
    .await;
    let told = Arc::new(Mutex::new(0));
    let into = Arc::clone(&told);
    let patience = Patience { limited: Duration::from_secs(10), ..hasty() };
    let gitlab =
        gitlab(&fake.url).with_patience(patience).telling(Arc::new(move |_| *into.lock().expect("unpoisoned") += 1));
    let began = Instant::now();
    let found = listed(&gitlab, ContainerKind::Project).await.expect("well");
    assert_eq!((found.len(), fake.seen().len()), (3, 6));
    // 1 s and 2 s, and a third of a second before each of the two requests behind the first that went well.
    assert!(began.elapsed() >= Duration::from_millis(3600), "{:?}", began.elapsed());
    assert_eq!(*told.lock().expect("unpoisoned"), 1, "not every wait is told");
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let error = clean(gitlab(&format!("http://{address}")).version().await.expect_err("nobody"));
    assert_eq!(error.kind, Kind::Transient);
    assert!(error.message.contains(&address.to_string()) && error.message.contains("refused"), "{error}");
    let error = clean(gitlab("http://gitlab.invalid").version().await.expect_err("no such host"));
    assert!(error.message.contains("host name of gitlab.invalid:80 is not known"), "{error}");
}

#[tokio::test]
async fn tls_trouble_names_the_setting() {
    let fake = Http::start(|_, _| json("{}")).await;
    let plain = fake.url.replace("http://", "https://");
    let Ok(gitlab) = RestGitLab::new(&plain, &SecretString::from(TOKEN), None) else {
        skipped("no CA certificates on this machine");
        return;
    };
    let error = clean(gitlab.version().await.expect_err("no TLS there"));
    assert_eq!(error.kind, Kind::Protocol);
    assert!(error.message.contains("does not speak TLS"), "{error}");
}

#[tokio::test]
async fn an_unknown_authority_is_told_and_a_private_ca_helps() {
    let Some((ca, identity)) = crate::live_gitaly::certificate() else { return };
    let server = tonic::transport::Server::builder()
        .tls_config(tonic::transport::ServerTlsConfig::new().identity(identity))
        .expect("valid");
    let address = FakeGitaly::default().serve_with(server).await;
    let url = format!("https://{address}");
    if let Ok(gitlab) = RestGitLab::new(&url, &SecretString::from(TOKEN), None) {
        let error = clean(gitlab.version().await.expect_err("unknown authority"));
        assert_eq!(error.kind, Kind::Protocol);
        assert!(error.message.contains("authority that this machine does not know"), "{error}");
        assert!(error.help.expect("help").contains("gitlab.ca"));
    }
    let gitlab = RestGitLab::new(&url, &SecretString::from(TOKEN), Some(&ca)).expect("valid");
    let error = clean(gitlab.version().await.expect_err("no GitLab there"));
    assert!(!error.message.contains("TLS"), "{error}");
}

#[test]
fn what_cannot_be_used_is_refused_before_anything_is_dialled() {
    let made = |url: &str, token: &str, ca: Option<&str>| {
        RestGitLab::new(url, &SecretString::from(token.to_owned()), ca).map_err(clean)
    };
    assert!(made("http://gitlab", TOKEN, None).is_ok());
    for url in ["", "gitlab", "ftp://gitlab", "http://root:glpat-canary-7f3a9@gitlab", "http://gitlab/?private_token=x"]
    {
        assert!(made(url, TOKEN, None).is_err(), "{url}");
    }
    assert_eq!(made("http://gitlab", " \n", None).expect_err("empty").kind, Kind::Unauthenticated);
    let broken = format!("{TOKEN}\n{TOKEN}");
    assert_eq!(made("http://gitlab", &broken, None).expect_err("two lines").kind, Kind::Unauthenticated);
    let error = made("https://gitlab", TOKEN, Some("hello")).expect_err("no PEM");
    assert!(error.call.contains("gitlab.ca"), "{error}");
}

#[tokio::test]
async fn projects_come_by_keyset_until_the_empty_page() {
    let fake = Http::start(|seen, _| {
        let after: u64 = seen.query("id_after").map_or(0, |v| v.parse().expect("a number"));
        let ids: Vec<u64> = (after + 1..=103).take(100).collect();
        // The configured host in Link, which must not be followed.
        let link = "link: <https://elsewhere.example/api/v4/projects?id_after=1>; rel=\"next\"\r\n";
        let items: Vec<_> = ids.iter().map(|id| item(*id, "default")).collect();
        Reply::Full(200, if ids.is_empty() { "" } else { link }, format!("[{}]", items.join(",")))
    })
    .await;
    let gitlab = gitlab(&fake.url);
    let (default, mut at, mut sizes) = (storage("default"), Some(Cursor::START), Vec::new());
    while let Some(cursor) = at {
        let page = gitlab.list(ContainerKind::Project, &default, cursor).await.expect("well");
        sizes.push(page.found.len());
        at = page.next;
    }
    assert_eq!(sizes, [100, 3, 0]);
    let first = &fake.seen()[0];
    for (key, value) in [
        ("pagination", "keyset"),
        ("order_by", "id"),
        ("sort", "asc"),
        ("per_page", "100"),
        ("repository_storage", "default"),
        ("statistics", "true"),
        ("include_pending_delete", "true"),
        ("include_hidden", "true"),
    ] {
        assert_eq!(first.query(key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(first.query("archived"), None);
}

#[tokio::test]
async fn a_dropped_filter_is_a_lack_of_rights() {
    for body in
        [format!("[{},{}]", item(1, "default"), item(2, "other")), r#"[{"id":1,"path_with_namespace":"a/b"}]"#.into()]
    {
        let fake = Http::start(move |_, _| json(body.clone())).await;
        let error = clean(projects(&fake.url, 0).await.expect_err("no rights"));
        assert_eq!(error.kind, Kind::Forbidden);
        assert!(error.help.expect("help").contains("administrator"));
    }
}

#[tokio::test]
async fn pages_that_go_in_circles_are_refused() {
    let fake = Http::start(|_, _| json(format!("[{}]", item(7, "default")))).await;
    let error = clean(projects(&fake.url, 7).await.expect_err("the same page again"));
    assert_eq!(error.kind, Kind::Protocol);
    assert_eq!(error.call, "GET /api/v4/projects?repository_storage=default&id_after=7");
}

#[tokio::test]
async fn a_page_that_fails_for_good_is_named() {
    let fake = Http::start(|_, _| status(500, r#"{"message":"500 Internal Server Error"}"#)).await;
    let error = clean(projects(&fake.url, 1200).await.expect_err("poisoned"));
    assert!(error.call.contains("id_after=1200"), "{error}");
    assert_eq!(error.status, Some(500));
    assert_eq!(fake.seen().len(), 4);
}

#[tokio::test]
async fn wrong_json_is_told_with_its_place() {
    let fake = Http::start(|_, _| json(r#"[{"id":"seven","path_with_namespace":"a/b"}]"#)).await;
    let error = clean(projects(&fake.url, 0).await.expect_err("wrong"));
    assert_eq!(error.kind, Kind::Protocol);
    assert!(error.message.contains("at `[0].id`"), "{error}");
}

#[tokio::test]
async fn the_whole_map_of_weights_is_put() {
    let fake = Http::start(|seen, _| {
        let answer =
            r#"{"akismet_api_key":"other-secret","repository_storages_weighted":{"default":0,"gitaly-01":100}}"#;
        assert!(seen.method != "PUT" || seen.headers["content-type"] == "application/json");
        json(answer)
    })
    .await;
    let gitlab = gitlab(&fake.url);
    let weights = gitlab.weights().await.expect("well");
    assert_eq!(weights[&storage("gitaly-01")].get(), 100);
    let map =
        BTreeMap::from([(storage("default"), Weight::ZERO), (storage("gitaly-01"), Weight::new(100).expect("ok"))]);
    assert_eq!(gitlab.put_weights(&map).await.expect("well"), map);
    let put = &fake.seen()[1];
    assert_eq!(put.method, "PUT");
    assert_eq!(put.body, r#"{"repository_storages_weighted":{"default":0,"gitaly-01":100}}"#);
}

#[tokio::test]
async fn a_put_is_repeated_after_429_only() {
    let ok = r#"{"repository_storages_weighted":{}}"#;
    let fake = Http::start(move |_, n| if n == 0 { status(429, "Retry later\n") } else { json(ok) }).await;
    assert!(gitlab(&fake.url).put_weights(&BTreeMap::new()).await.is_ok());
    let fake = Http::start(|_, _| status(502, "<html>")).await;
    let error = clean(gitlab(&fake.url).put_weights(&BTreeMap::new()).await.expect_err("busy"));
    assert_eq!((error.kind, fake.seen().len()), (Kind::Transient, 1));
}

const MOVE: &str = r#"{"id":71,"created_at":"2026-01-05T09:30:00.125Z","state":"scheduled",
    "source_storage_name":"default","destination_storage_name":"gitaly-01","error_message":null,
    "project":{"id":12,"path_with_namespace":"web/shop"}}"#;

#[tokio::test]
async fn a_move_is_scheduled_with_its_destination_named() {
    let fake = Http::start(|_, n| if n == 0 { status(429, "Retry later\n") } else { status(201, MOVE) }).await;
    let record = gitlab(&fake.url).schedule(project(12), &storage("gitaly-01")).await.expect("well");
    assert_eq!((record.id, record.state, record.destination.as_str()), (71, MoveState::Scheduled, "gitaly-01"));
    let seen = fake.seen();
    assert_eq!(seen.len(), 2, "a 429 was surely not carried out");
    assert_eq!((seen[1].method.as_str(), seen[1].path()), ("POST", "/api/v4/projects/12/repository_storage_moves"));
    assert_eq!(seen[1].body, r#"{"destination_storage_name":"gitaly-01"}"#);
}

#[tokio::test]
async fn a_lost_answer_to_a_post_is_ambiguous_and_never_repeated() {
    let answers: [fn() -> Reply; 7] = [
        || Reply::Nothing,
        || Reply::Cut(MOVE.to_owned()),
        || status(500, r#"{"message":"500 Internal Server Error"}"#),
        || status(504, "<html>gateway timeout</html>"),
        || status(409, r#"{"message":"409 Conflict: Resource lock"}"#),
        || status(201, "<html>hello</html>"),
        || status(201, "{}"),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let fake = Http::start(move |_, _| answer()).await;
        let error = clean(gitlab(&fake.url).schedule(project(12), &storage("gitaly-01")).await.expect_err("lost"));
        assert_eq!(error.kind, Kind::Ambiguous, "{number}: {error}");
        assert_eq!(fake.seen().len(), 1, "{number}");
    }
    // Another container's move is no proof of ours.
    let fake = Http::start(|_, _| status(201, MOVE)).await;
    let error = clean(gitlab(&fake.url).schedule(project(13), &storage("gitaly-01")).await.expect_err("another's"));
    assert_eq!(error.kind, Kind::Ambiguous);
}

#[tokio::test]
async fn a_post_that_was_not_carried_out_is_known_not_to_be() {
    let fake = Http::start(|_, _| status(400, r#"{"message":{"project":["is read-only"]}}"#)).await;
    let error = clean(gitlab(&fake.url).schedule(project(12), &storage("gitaly-01")).await.expect_err("refused"));
    assert_eq!(error.kind, Kind::Refused);
    assert!(error.message.contains("project is read-only"), "{error}");
    let url = fake.url.clone();
    drop(fake);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let error = clean(gitlab(&url).schedule(project(12), &storage("gitaly-01")).await.expect_err("nobody"));
    assert_eq!(error.kind, Kind::Transient);
}

#[tokio::test]
async fn what_is_gone_is_none() {
    let fake = Http::start(|_, _| status(404, r#"{"message":"404 Project Not Found"}"#)).await;
    let gitlab = gitlab(&fake.url);
    assert_eq!(gitlab.container(project(1)).await.expect("well"), None);
    assert_eq!(gitlab.disk_path(project(1)).await.expect("well"), None);
    assert_eq!(gitlab.move_record(ContainerKind::Project, 1).await.expect("well"), None);
    assert_eq!(gitlab.moves(ContainerKind::Snippet, 1).await.expect_err("no such list").kind, Kind::NotFound);
}

#[tokio::test]
async fn one_project_and_its_moves_are_read() {
    let fake = Http::start(|seen, _| match seen.path() {
        "/api/v4/projects/12" => json(
            r#"{"id":12,"path_with_namespace":"web/shop","repository_storage":"default","empty_repo":true,
                "statistics":{"repository_size":5,"wiki_size":6}}"#,
        ),
        "/api/v4/projects/12/storage" => json(r#"{"project_id":12,"disk_path":"@hashed/6b/86/6b86"}"#),
        "/api/v4/projects/12/repository_storage_moves" | "/api/v4/project_repository_storage_moves" => {
            json(format!("[{MOVE}]"))
        }
        "/api/v4/project_repository_storage_moves/71" => json(MOVE),
        other => panic!("{other}"),
    })
    .await;
    let gitlab = gitlab(&fake.url);
    let shop = gitlab.container(project(12)).await.expect("well").expect("there");
    assert_eq!((shop.size, shop.empty), (Some(Bytes(11)), Some(true)));
    assert_eq!(gitlab.disk_path(project(12)).await.expect("well").as_deref(), Some("@hashed/6b/86/6b86"));
    let record = gitlab.move_record(ContainerKind::Project, 71).await.expect("well").expect("there");
    assert_eq!(gitlab.moves_of(project(12), 500).await.expect("well"), std::slice::from_ref(&record));
    assert_eq!(gitlab.moves(ContainerKind::Project, 2).await.expect("well"), [record]);
    let seen = fake.seen();
    assert_eq!(seen[3].query("per_page").as_deref(), Some("100"));
    assert_eq!(seen[4].query("page").as_deref(), Some("2"));
}

#[tokio::test]
async fn snippets_are_listed_by_their_own_field() {
    // The filter is ignored, as on the community edition; two pages; one item comes twice.
    let fake = Http::start(|seen, _| {
        if seen.path() == "/api/v4/metadata" {
            return json(r#"{"version":"18.1.1","enterprise":true}"#);
        }
        let page: u64 = seen.query("page").expect("a page").parse().expect("a number");
        let items: Vec<_> = match page {
            1 => (1..=100).collect::<Vec<u64>>(),
            _ => vec![100, 101, 102],
        }
        .into_iter()
        .map(|id| format!(r#"{{"id":{id},"repository_storage":"{}"}}"#, if id % 2 == 0 { "default" } else { "other" }))
        .collect();
        let next = if page == 1 { "x-next-page: 2\r\n" } else { "x-next-page: \r\n" };
        Reply::Full(200, next, format!("[{}]", items.join(",")))
    })
    .await;
    let found = listed(&gitlab(&fake.url), ContainerKind::Snippet).await.expect("well");
    assert_eq!((found.len(), fake.seen().len()), (51, 3));
    // Without the field nothing is known: that must not look like none.
    let fake = Http::start(|seen, _| match seen.path() {
        "/api/v4/metadata" => json(r#"{"version":"18.1.1","enterprise":true}"#),
        _ => json(r#"[{"id":1,"title":"x"}]"#),
    })
    .await;
    let error = clean(listed(&gitlab(&fake.url), ContainerKind::Snippet).await.expect_err("unknown"));
    assert_eq!(error.kind, Kind::Forbidden);
}

#[tokio::test]
async fn group_wikis_are_listed_where_the_edition_has_them() {
    let counted = async |enterprise: &'static str, groups: &'static str, moves: u16| {
        let fake = Http::start(move |seen, _| match seen.path() {
            "/api/v4/metadata" => json(format!(r#"{{"version":"18.1.1","enterprise":{enterprise}}}"#)),
            "/api/v4/groups" => json(groups),
            "/api/v4/group_repository_storage_moves" => {
                status(moves, if moves == 200 { "[]" } else { r#"{"error":"404 Not Found"}"# })
            }
            other => panic!("{other}"),
        })
        .await;
        let gitlab = gitlab(&fake.url);
        listed(&gitlab, ContainerKind::GroupWiki).await.map(|found| found.len()).map_err(|e| clean(e).kind)
    };
    assert_eq!(counted("false", "[]", 404).await, Ok(0));
    let groups = r#"[{"id":1,"repository_storage":"default"},{"id":2,"repository_storage":null}]"#;
    assert_eq!(counted("true", groups, 200).await, Ok(1));
    let untold = r#"[{"id":1,"name":"x"}]"#;
    assert_eq!(counted("true", untold, 404).await, Ok(0));
    assert_eq!(counted("true", untold, 200).await, Err(Kind::Forbidden));
}

#[tokio::test]
async fn the_tokens_own_facts_are_read() {
    let fake = Http::start(|_, _| {
        json(r#"{"id":4,"name":"tranship","active":true,"scopes":["api","admin_mode"],"expires_at":"2026-12-31"}"#)
    })
    .await;
    let facts = gitlab(&fake.url).token().await.expect("well");
    assert_eq!(facts.scopes, ["api", "admin_mode"]);
    assert_eq!(facts.expires_at.map(|d| d.to_string()).as_deref(), Some("2026-12-31"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 32)]
async fn requests_in_flight_are_bounded() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (inside, highest) = (Arc::clone(&now), Arc::clone(&most));
    let fake = Http::start(move |_, _| {
        highest.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
        std::thread::sleep(Duration::from_millis(10));
        inside.fetch_sub(1, SeqCst);
        json(r#"{"version":"18.1.1-ee"}"#)
    })
    .await;
    let gitlab = gitlab(&fake.url);
    let all = futures::future::join_all((0..64).map(|_| gitlab.version())).await;
    assert!(all.into_iter().all(|v| v.is_ok()));
    let most = most.load(SeqCst);
    assert!((2..=16).contains(&most), "{most}");
}
