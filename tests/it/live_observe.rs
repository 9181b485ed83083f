//! The reading of a fleet, over sockets, against a scripted GitLab and a small Gitaly.

use std::collections::BTreeMap;

use secrecy::SecretString;
use tonic::Status;
use tranship::apply::port::{PortError, PortErrorKind as Kind};
use tranship::live::{Request, Target, connect, observe};
use tranship::model::{MoveState, Observed, Reading, Scheme};

use crate::live_fake::{FakeGitaly, Http, Reply, Seen, json, status};
use crate::live_gitaly::{storage, target};

/// The projects that GitLab lists: id and storage.
type Projects = Vec<(u64, &'static str)>;

/// Page `page` of the project moves, 100 a page: `states(n)` is the n-th newest move's state, `None` ends the list.
fn moves(page: u64, states: fn(u64) -> Option<&'static str>) -> String {
    let items: Vec<_> = ((page - 1) * 100..page * 100)
        .map_while(|n| states(n).map(|state| (n, state)))
        .map(|(n, state)| {
            let id = 5000 - n;
            format!(
                r#"{{"id":{id},"state":"{state}","source_storage_name":"default","destination_storage_name":"b","project":{{"id":{id}}}}}"#
            )
        })
        .collect();
    format!("[{}]", items.join(","))
}

fn fleet(seen: &Seen, projects: &Projects, states: fn(u64) -> Option<&'static str>) -> Reply {
    let number = |key| seen.query(key).map_or(0, |v| v.parse::<u64>().expect("a number"));
    match seen.path() {
        "/api/v4/metadata" => json(r#"{"version":"18.1.1","enterprise":false}"#),
        "/api/v4/personal_access_tokens/self" => json(r#"{"scopes":["api"],"expires_at":null}"#),
        "/api/v4/application/settings" => json(r#"{"repository_storages_weighted":{"default":100,"b":0,"c":0}}"#),
        "/api/v4/projects" => {
            let asked = seen.query("repository_storage").expect("a storage");
            let items: Vec<_> = projects
                .iter()
                .filter(|(id, storage)| *storage == asked && *id > number("id_after"))
                .take(2)
                .map(|(id, storage)| {
                    format!(r#"{{"id":{id},"path_with_namespace":"web/p{id}","repository_storage":"{storage}"}}"#)
                })
                .collect();
            json(format!("[{}]", items.join(",")))
        }
        "/api/v4/snippets/all" => json(r#"[{"id":1,"repository_storage":"default"}]"#),
        "/api/v4/project_repository_storage_moves" => json(moves(number("page"), states)),
        "/api/v4/snippet_repository_storage_moves" => match number("page") {
            1 => json(r#"[{"id":3,"state":"started","snippet":{"id":9}}]"#),
            _ => json("[]"),
        },
        _ => status(404, r#"{"error":"404 Not Found"}"#),
    }
}

async fn read(http: &Http, gitalys: &[(&str, &str)], request: &Request) -> Result<Observed, Vec<PortError>> {
    let gitaly: BTreeMap<_, _> =
        gitalys.iter().map(|(name, address)| (storage(name), target(Scheme::Tcp, address, Some("t"), None))).collect();
    let target = Target {
        gitlab_url: http.url.clone(),
        gitlab_token: SecretString::from("glpat-canary"),
        gitlab_ca: None,
        gitaly,
        cluster: None,
        clock: None,
    };
    assert!(!format!("{target:?}").contains("canary"));
    let ports = connect(&target).expect("valid");
    assert!(!format!("{ports:?}").contains("canary"));
    observe(&ports, request).await
}

fn request(declared: &[&str], listed: &[&str], draining: &[&str]) -> Request {
    let names = |names: &[&str]| names.iter().map(|n| storage(n)).collect();
    Request { declared: names(declared), listed: names(listed), draining: names(draining), ..Request::default() }
}

#[tokio::test]
async fn a_fleet_is_read_whole_and_in_order() {
    let gitaly = FakeGitaly::default();
    *gitaly.walk.lock().expect("unpoisoned") = vec!["@hashed/left.git".to_owned()];
    let address = gitaly.serve().await;
    let projects: Projects = vec![(3, "c"), (5, "b"), (7, "b"), (9, "c"), (11, "b"), (13, "b"), (15, "b")];
    let http = Http::start(move |seen, _| {
        fleet(seen, &projects, |n| match n {
            0 => Some("scheduled"),
            1..=120 => Some("finished"),
            121 => Some("started"),
            122..=700 => Some("failed"),
            _ => None,
        })
    })
    .await;
    let gitalys = [("default", address.as_str()), ("b", address.as_str())];
    let seen = read(&http, &gitalys, &request(&["default", "b", "c"], &["c", "b"], &["default"])).await.expect("well");

    assert_eq!((seen.gitlab.version.as_str(), seen.gitlab.enterprise), ("18.1.1", Some(false)));
    assert_eq!(seen.gitlab.weights[&storage("default")].get(), 100);
    assert!(seen.gitlab.token.known().is_some());
    let ids: Vec<_> = seen.repositories.iter().map(|r| r.container.id).collect();
    assert_eq!(ids, [3, 5, 7, 9, 11, 13, 15], "sorted by container, over storages");
    // `default` is served; `b` is not, and `c` has no address: unknown with the reason, no error.
    let facts = &seen.storages[&storage("default")];
    assert!(facts.server.known().is_some() && facts.disk.known().is_some());
    assert_eq!(facts.walk, Some(Reading::Known(vec!["@hashed/left.git".to_owned()])));
    let Reading::Unknown(reason) = &seen.storages[&storage("b")].server else { panic!("`b` is not served there") };
    assert!(reason.contains("it serves `default`"), "{reason}");
    assert!(seen.storages[&storage("c")].server.known().is_none());
    assert_eq!(seen.storages[&storage("b")].walk, None, "only draining storages are walked");

    let others = &seen.others[&storage("default")];
    assert_eq!((&others.snippets, &others.group_wikis), (&Reading::Known(1), &Reading::Known(0)));
    assert_eq!(seen.others[&storage("b")].snippets, Reading::Known(0));

    let moves: Vec<_> = seen.moves.iter().map(|m| (m.container.to_string(), m.state.clone())).collect();
    let expected = [("project-4879", "started"), ("project-5000", "scheduled"), ("snippet-9", "started")];
    assert_eq!(moves, expected.map(|(c, s)| (c.to_owned(), MoveState::from(s.to_owned()))));
    let pages = http.seen().iter().filter(|s| s.path() == "/api/v4/project_repository_storage_moves").count();
    assert_eq!(pages, 4, "two pages of ended moves end the search");
}

#[tokio::test]
async fn the_search_for_moves_is_bounded() {
    let http = Http::start(|seen, _| fleet(seen, &Vec::new(), |_| Some("started"))).await;
    let seen = read(&http, &[], &request(&[], &[], &[])).await.expect("well");
    assert_eq!(seen.moves.len(), 2001);
}

#[tokio::test]
async fn a_draining_storage_with_projects_is_not_walked() {
    let gitaly = FakeGitaly::default();
    let address = gitaly.serve().await;
    let http = Http::start(|seen, _| fleet(seen, &vec![(1, "default")], |_| None)).await;
    let seen =
        read(&http, &[("default", &address)], &request(&["default"], &["default"], &["default"])).await.expect("well");
    assert_eq!(seen.storages[&storage("default")].walk, None);
    assert_eq!(seen.repositories.len(), 1);
}

#[tokio::test]
async fn a_wrong_gitaly_token_is_unknown_with_its_reason() {
    let gitaly = FakeGitaly::default();
    *gitaly.trouble.lock().expect("unpoisoned") = vec![Status::permission_denied("permission denied"); 8];
    let address = gitaly.serve().await;
    let http = Http::start(|seen, _| fleet(seen, &Vec::new(), |_| None)).await;
    let seen = read(&http, &[("default", &address)], &request(&["default"], &[], &["default"])).await.expect("well");
    let facts = &seen.storages[&storage("default")];
    for reading in [facts.server.known().is_none(), facts.disk.known().is_none()] {
        assert!(reading);
    }
    let Reading::Unknown(reason) = &facts.server else { panic!("a wrong token") };
    assert!(reason.contains("refused the token") && reason.contains("gitaly.token"), "{reason}");
    assert!(matches!(&facts.walk, Some(Reading::Unknown(_))), "never `empty`");
}

#[tokio::test]
async fn without_an_administrators_rights_no_list_is_believed() {
    let http = Http::start(|seen, _| match seen.path() {
        "/api/v4/application/settings" => status(403, r#"{"message":"403 Forbidden"}"#),
        _ => fleet(seen, &Vec::new(), |_| None),
    })
    .await;
    let errors = read(&http, &[], &request(&[], &["default"], &[])).await.expect_err("no rights");
    assert_eq!(errors.iter().map(|e| e.kind).collect::<Vec<_>>(), [Kind::Forbidden]);
    assert!(http.seen().iter().all(|s| s.path() != "/api/v4/projects"));
}

#[tokio::test]
async fn all_lists_that_failed_are_told_in_order() {
    let http = Http::start(|seen, _| match (seen.path(), seen.query("repository_storage").as_deref()) {
        ("/api/v4/projects", Some("b" | "c")) => status(400, r#"{"error":"no"}"#),
        ("/api/v4/project_repository_storage_moves", _) => status(400, r#"{"error":"no"}"#),
        _ => fleet(seen, &Vec::new(), |_| None),
    })
    .await;
    let errors = read(&http, &[], &request(&[], &["c", "default", "b"], &[])).await.expect_err("three");
    let calls: Vec<_> = errors.iter().map(|e| e.call.as_str()).collect();
    assert_eq!(
        calls,
        [
            "GET /api/v4/projects?repository_storage=b",
            "GET /api/v4/projects?repository_storage=c",
            "GET /api/v4/project_repository_storage_moves?page=1",
        ]
    );
}

#[tokio::test]
async fn an_unreachable_gitlab_is_one_error() {
    let http = Http::start(|_, _| status(401, r#"{"message":"401 Unauthorized"}"#)).await;
    let errors = read(&http, &[], &request(&["default"], &["default"], &[])).await.expect_err("refused");
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].kind, Kind::Unauthenticated);
}

#[tokio::test]
async fn sizes_that_gitlab_does_not_give_are_asked_of_gitaly() {
    let address = FakeGitaly::default().serve().await;
    let projects: Projects = vec![(1, "default"), (3, "c")];
    let http = Http::start(move |seen, _| fleet(seen, &projects, |_| None)).await;
    let gitalys = [("default", address.as_str())];
    let seen = read(&http, &gitalys, &request(&["default", "c"], &["default", "c"], &[])).await.expect("well");
    let sizes: Vec<_> = seen.repositories.iter().map(|r| (r.container.id, r.size.map(|s| s.0))).collect();
    assert_eq!(sizes, [(1, Some(1144)), (3, None)], "a storage that cannot be asked leaves the size unknown");
}
