//! The reading of a fleet, over sockets, against a scripted GitLab and a small Gitaly.

use std::collections::BTreeMap;

use secrecy::SecretString;
use tonic::Status;
use tranship::apply::port::{PortError, PortErrorKind as Kind, Ports};
use tranship::live::{self, Request, Target, measure, observe};
use tranship::model::{
    Container, ContainerKind, ListFacts, MoveState, Observed, Reading, Scheme, StorageName, Unlisted,
};

use crate::live_fake::{FakeGitaly, Http, Reply, Seen, hasty, json, status};
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
        "/api/v4/snippets/all" => json(r#"[{"id":1,"repository_storage":"e"},{"id":2,"repository_storage":null}]"#),
        "/api/v4/project_repository_storage_moves" => json(moves(number("page"), states)),
        "/api/v4/snippet_repository_storage_moves" => match number("page") {
            1 => json(r#"[{"id":3,"state":"started","snippet":{"id":9}}]"#),
            _ => json("[]"),
        },
        _ => status(404, r#"{"error":"404 Not Found"}"#),
    }
}

async fn read(http: &Http, gitalys: &[(&str, &str)], request: &Request) -> Result<Observed, Vec<PortError>> {
    observe(&ports(http, gitalys), request).await
}

fn ports(http: &Http, gitalys: &[(&str, &str)]) -> Ports {
    let gitaly: BTreeMap<_, _> =
        gitalys.iter().map(|(name, address)| (storage(name), target(Scheme::Tcp, address, Some("t"), None))).collect();
    let target = Target {
        gitlab_url: http.url.clone(),
        gitlab_token: SecretString::from("glpat-canary"),
        gitlab_ca: None,
        gitaly,
        cluster: None,
        prometheus: None,
        clock: None,
    };
    assert!(!format!("{target:?}").contains("canary"));
    let ports = live::connect_with(&target, hasty(), None).expect("valid");
    assert!(!format!("{ports:?}").contains("canary"));
    ports
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

    assert!(seen.lists.values().all(|facts| *facts == ListFacts::default()), "{:?}", seen.lists);
    assert_eq!(seen.lists.keys().map(StorageName::as_str).collect::<Vec<_>>(), ["b", "c", "default"]);

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
async fn sizes_that_gitlab_does_not_give_are_asked_of_gitaly_where_they_are_wanted() {
    let address = FakeGitaly::default().serve().await;
    let projects: Projects = vec![(1, "default"), (2, "default"), (3, "c")];
    let http = Http::start(move |seen, _| fleet(seen, &projects, |_| None)).await;
    let gitalys = [("default", address.as_str())];
    let ports = ports(&http, &gitalys);
    let mut seen = observe(&ports, &request(&["default", "c"], &["default", "c"], &[])).await.expect("well");
    assert!(seen.repositories.iter().all(|r| r.size.is_none()), "none is asked for unless it is wanted");
    let wanted = [1, 3].map(|id| Container { kind: ContainerKind::Project, id });
    measure(&ports, &mut seen, &wanted.into()).await;
    let sizes: Vec<_> = seen.repositories.iter().map(|r| (r.container.id, r.size.map(|s| s.0))).collect();
    // Repository, wiki and design repository, each of 1144 bytes.
    assert_eq!(
        sizes,
        [(1, Some(3432)), (2, None), (3, None)],
        "a storage that cannot be asked leaves the size unknown"
    );
}

/// A GitLab with snippets and groups beside the projects: three pages of snippets, broken ones among them.
fn whole(seen: &Seen, broken: &'static [u64]) -> Reply {
    let number = |key| seen.query(key).map_or(0, |v| v.parse::<u64>().expect("a number"));
    let (page, size) = (number("page").max(1), number("per_page").max(1));
    let failed = || status(500, r#"{"message":"500 Internal Server Error"}"#);
    let items = |all: Vec<(u64, String)>| {
        let from = usize::try_from((page - 1).saturating_mul(size)).expect("small").min(all.len());
        let here: Vec<_> = all[from..].iter().take(usize::try_from(size).expect("small")).collect();
        if here.iter().any(|(id, _)| broken.contains(id)) {
            return failed();
        }
        let last = from + here.len() >= all.len();
        let next = if last { "x-next-page: \r\n" } else { "x-next-page: more\r\n" };
        let body: Vec<_> = here.into_iter().map(|(_, json)| json.clone()).collect();
        Reply::Full(200, next, format!("[{}]", body.join(",")))
    };
    match seen.path() {
        "/api/v4/metadata" => json(r#"{"version":"18.1.1-ee","enterprise":true}"#),
        "/api/v4/projects" => {
            let after = number("id_after");
            let ids: Vec<u64> = (1..=230).map(|n| n * 7).filter(|id| *id > after).collect();
            let ids = &ids[..ids.len().min(usize::try_from(size).expect("small"))];
            if ids.iter().any(|id| broken.contains(id)) {
                return failed();
            }
            let items = ids
                .iter()
                .map(|id| format!(r#"{{"id":{id},"path_with_namespace":"web/p{id}","repository_storage":"default"}}"#));
            json(format!("[{}]", items.collect::<Vec<_>>().join(",")))
        }
        "/api/v4/snippets/all" => items(
            (1000..=1230)
                .rev()
                .map(|id| {
                    (id, format!(r#"{{"id":{id},"repository_storage":"default","updated_at":"2026-01-05T09:30:00Z"}}"#))
                })
                .collect(),
        ),
        "/api/v4/groups" => items(
            (3000..3010)
                .map(|id| {
                    let on = if id % 2 == 0 { r#""default""# } else { "null" };
                    (id, format!(r#"{{"id":{id},"full_path":"web/g{id}","repository_storage":{on}}}"#))
                })
                .collect(),
        ),
        _ => fleet(seen, &Vec::new(), |_| None),
    }
}

#[tokio::test]
async fn snippets_and_group_wikis_are_listed_like_projects() {
    let http = Http::start(|seen, _| whole(seen, &[])).await;
    let seen = read(&http, &[], &request(&[], &["default"], &[])).await.expect("well");
    let of = |kind| seen.repositories.iter().filter(move |r| r.container.kind == kind).collect::<Vec<_>>();
    let counts = ContainerKind::ALL.map(|kind| of(kind).len());
    assert_eq!(counts, [230, 231, 5], "a group without a wiki has no storage");
    assert!(seen.repositories.is_sorted_by(|a, b| a.container < b.container));
    let snippet = of(ContainerKind::Snippet)[0];
    assert_eq!((&*snippet.path, snippet.archived, snippet.size), ("snippets/1000", None, None));
    assert!(snippet.last_activity.is_some());
    assert_eq!(&*of(ContainerKind::GroupWiki)[0].path, "web/g3000");
    assert_eq!(seen.lists[&storage("default")], ListFacts::default());
}

#[tokio::test]
async fn what_breaks_its_page_is_found_and_the_rest_is_read() {
    // Two projects beside each other and one alone, one of them the first; a snippet and a group.
    let http = Http::start(|seen, _| whole(seen, &[7, 700, 707, 1100, 3001])).await;
    let seen = read(&http, &[], &request(&[], &["default"], &[])).await.expect("well");
    let counts = ContainerKind::ALL.map(|kind| seen.repositories.iter().filter(|r| r.container.kind == kind).count());
    assert_eq!(counts, [227, 230, 5]);
    let facts = &seen.lists[&storage("default")];
    assert!(facts.unlisted.is_empty());
    let told: Vec<_> = facts.unreadable.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "project-7, and any other with an id from 1 on",
            "project-707, and any other with an id from 694 on",
            "the snippet at place 131 of GitLab's list",
            "the group wiki at place 2 of GitLab's list",
        ]
    );
    assert!(facts.unreadable[0].cause.contains("500"), "{:?}", facts.unreadable);
    // 3 + 3 + 1 pages, and for each broken item at most about 20 more, each tried twice.
    let lists =
        http.seen().into_iter().filter(|s| s.query("per_page").is_some() && s.query("repository_storage").is_some());
    let lists = lists.count();
    assert!(lists < 160, "{lists}");
}

#[tokio::test]
async fn a_list_that_fails_everywhere_is_no_broken_item() {
    let http = Http::start(|seen, _| match seen.path() {
        "/api/v4/projects" | "/api/v4/snippets/all" => status(500, r#"{"message":"500 Internal Server Error"}"#),
        _ => whole(seen, &[]),
    })
    .await;
    let errors = read(&http, &[], &request(&[], &["default"], &[])).await.expect_err("nothing is known of the storage");
    assert_eq!(errors.len(), 1);
    assert_eq!((errors[0].status, errors[0].kind), (Some(500), Kind::Transient));
    assert!(http.seen().len() < 30, "{}", http.seen().len());
    let http = Http::start(|seen, _| match seen.path() {
        "/api/v4/snippets/all" => status(500, r#"{"message":"500 Internal Server Error"}"#),
        _ => whole(seen, &[]),
    })
    .await;
    let seen = read(&http, &[], &request(&[], &["default"], &[])).await.expect("all but the snippets");
    let why = &seen.lists[&storage("default")].unlisted[&ContainerKind::Snippet];
    assert!(matches!(why, Unlisted::Failed(cause) if cause.contains("500")), "{why:?}");
    assert_eq!(seen.repositories.len(), 235);
}

#[tokio::test]
async fn a_list_that_changes_while_it_is_read_is_read_until_it_stands() {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    // A snippet moves; at the first reading a row leaves page 1, so that one of page 2 is never seen.
    let pass = AtomicU64::new(0);
    let http = Http::start(move |seen, _| match seen.path() {
        "/api/v4/snippets/all" => {
            let second = seen.query("page").as_deref() == Some("2");
            let pass = if second { pass.load(SeqCst) } else { pass.fetch_add(1, SeqCst) + 1 };
            let ids: &[u64] = match (second, pass) {
                (false, 1) => &[1, 2, 3],
                (false, _) => &[2, 3, 4],
                (true, 1) => &[5],
                (true, _) => &[5, 6],
            };
            let items: Vec<_> =
                ids.iter().map(|id| format!(r#"{{"id":{id},"repository_storage":"default"}}"#)).collect();
            let next = if second { "x-next-page: \r\n" } else { "x-next-page: 2\r\n" };
            Reply::Full(200, next, format!("[{}]", items.join(",")))
        }
        "/api/v4/snippet_repository_storage_moves" => match seen.query("page").as_deref() {
            Some("1") => json(r#"[{"id":3,"state":"started","source_storage_name":"default","snippet":{"id":1}}]"#),
            _ => json("[]"),
        },
        _ => fleet(seen, &Vec::new(), |_| None),
    })
    .await;
    let seen = read(&http, &[], &request(&[], &["default"], &[])).await.expect("well");
    assert_eq!(seen.repositories.iter().map(|r| r.container.id).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    let lists = http.seen().iter().filter(|s| s.path() == "/api/v4/snippets/all").count();
    assert_eq!(lists, 6, "three times two pages");
}

#[tokio::test]
async fn what_a_gitlab_has_no_list_of_is_said() {
    for (metadata, kind, said) in [
        (
            r#"{"version":"16.2.1-ee","enterprise":true}"#,
            ContainerKind::Snippet,
            "GitLab 16.2.1-ee has no list of all snippets",
        ),
        (
            r#"{"version":"16.2.1-ee","enterprise":true}"#,
            ContainerKind::GroupWiki,
            "does not list groups by the storage",
        ),
        (
            r#"{"version":"18.1.1","enterprise":false}"#,
            ContainerKind::Snippet,
            "does not say on which storage a snippet is",
        ),
    ] {
        let http = Http::start(move |seen, _| match seen.path() {
            "/api/v4/metadata" => json(metadata),
            "/api/v4/snippets/all" => json(r#"[{"id":1,"title":"x"}]"#),
            "/api/v4/group_repository_storage_moves" => json("[]"),
            _ => whole(seen, &[]),
        })
        .await;
        let seen = read(&http, &[], &request(&[], &["default"], &[])).await.expect("well");
        let why = &seen.lists[&storage("default")].unlisted[&kind];
        assert!(matches!(why, Unlisted::Absent(cause) if cause.contains(said)), "{why:?}");
    }
}
