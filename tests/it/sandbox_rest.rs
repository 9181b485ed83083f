//! GitLab's REST API of the fleet, to the letter of the headers: pages of every kind, limits, editions, and what must
//! outlive the process that serves it.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tranship::model::{Bytes, ContainerKind, RepositoryRole, SandboxConnection, SandboxFault, relative_path};
use tranship::sandbox::Endpoints;

use super::sandbox_fleet::{Answer, World, ask, ended, get, git, post_move, spec};

/// Where the only fault strikes, and how often.
fn with_fault(kind: &str, nth: u32, count: u32) -> SandboxConnection {
    let mut spec = spec(&[]);
    spec.faults = vec![SandboxFault { kind: kind.into(), nth, count }];
    spec
}

fn synthetic(mut spec: SandboxConnection) -> SandboxConnection {
    spec.real_limit = 0;
    spec.storages.iter_mut().for_each(|s| s.disk = Bytes(1 << 50));
    spec
}

fn user(fleet: &Endpoints, path: &str) -> Answer {
    ask(fleet, "glpat-sandbox-user", "GET", &format!("/api/v4{path}"), None).expect("answered")
}

fn ids(answer: &Answer) -> Vec<u64> {
    answer.json().as_array().expect("a list").iter().map(|row| row["id"].as_u64().expect("an id")).collect()
}

/// The page numbers of a `Link` header, by their relation.
fn links(answer: &Answer) -> Vec<(String, u64)> {
    let link = answer.header("link").unwrap_or_default();
    let one = |part: &str| {
        let (url, rel) = part.split_once(">; rel=\"").expect("a link");
        let query = url.split_once('?').expect("a query").1;
        let page = query.split('&').find_map(|pair| pair.strip_prefix("page=")).expect("a page");
        (rel.trim_end_matches('"').to_owned(), page.parse().expect("a number"))
    };
    link.split(", ").filter(|l| !l.is_empty()).map(one).collect()
}

fn headers<'a>(answer: &'a Answer, names: &[&str]) -> Vec<Option<&'a str>> {
    names.iter().map(|n| answer.header(n)).collect()
}

const PAGE: [&str; 6] = ["x-page", "x-per-page", "x-prev-page", "x-next-page", "x-total", "x-total-pages"];

#[test]
fn snippets_and_groups_come_by_offset_pages() {
    let world = World::new();
    let mut wanted = synthetic(spec(&[]));
    (wanted.snippets, wanted.group_wikis) = (10_100, 7);
    let fleet = world.ensure(&wanted).expect("up");

    // The fourth group has no wiki: it is on no storage.
    let last = get(&fleet, "/groups?all_available=true&repository_storage=default&order_by=id&per_page=3&page=3");
    assert_eq!(headers(&last, &PAGE), ["3", "3", "2", "", "7", "3"].map(Some));
    assert_eq!(links(&last), [("prev".into(), 2), ("first".into(), 1), ("last".into(), 3)]);
    assert_eq!(ids(&last), [8]);
    let first = get(&fleet, "/groups?repository_storage=default&order_by=id&per_page=3");
    assert_eq!(headers(&first, &PAGE), ["1", "3", "", "2", "7", "3"].map(Some));
    assert_eq!(links(&first), [("next".into(), 2), ("first".into(), 1), ("last".into(), 3)]);
    let wikis = first.json();
    assert_eq!((&wikis[0]["full_path"], &wikis[0]["repository_storage"]), (&json!("web"), &json!("default")));
    let all = get(&fleet, "/groups?order_by=id");
    assert_eq!(ids(&all), [1, 2, 3, 4, 5, 6, 7, 8], "one of them without a wiki");
    assert_eq!(all.json()[3]["repository_storage"], Value::Null);
    assert_eq!(all.header("x-total"), Some("8"));
    assert_eq!(ids(&get(&fleet, "/groups?repository_storage=nowhere")), [] as [u64; 0]);

    // Above 10,000 rows they are not counted.
    let many = get(&fleet, "/snippets/all?repository_storage=default&per_page=500");
    assert_eq!(headers(&many, &PAGE), [Some("1"), Some("100"), Some(""), Some("2"), None, None]);
    assert_eq!(links(&many), [("next".into(), 2), ("first".into(), 1)]);
    let rows = many.json();
    assert_eq!(rows.as_array().map(Vec::len), Some(100), "more than 100 is cut");
    let end = get(&fleet, "/snippets/all?repository_storage=default&per_page=100&page=101");
    assert_eq!(headers(&end, &["x-next-page", "x-prev-page"]), [Some(""), Some("100")]);
    assert_eq!(ids(&end).last(), Some(&1), "newest first");
    assert_eq!(
        get(&fleet, "/snippets/all?per_page=0").json(),
        json!({"error": "per_page does not have a valid value"})
    );
    let one = get(&fleet, "/snippets/1").json();
    assert_eq!((&one["id"], &one["repository_storage"]), (&json!(1), &json!("default")));
    assert_eq!(get(&fleet, "/snippets/99999").json(), json!({"message": "404 Snippet Not Found"}));
    assert_eq!(get(&fleet, "/groups/99").json(), json!({"message": "404 Group Not Found"}));

    // Whoever is no administrator gets everything, without the field.
    let silent = user(&fleet, "/groups?repository_storage=nowhere");
    assert_eq!(ids(&silent).len(), 8);
    assert!(silent.json()[0].get("repository_storage").is_none());

    // Moves have their own ids, and name what moves in their own word.
    let to = json!({ "destination_storage_name": "second" });
    let post = |path: &str| ask(&fleet, &fleet.gitlab_token, "POST", path, Some(&to)).expect("answered");
    let made = post("/api/v4/snippets/1/repository_storage_moves");
    assert_eq!((made.status, &made.json()["id"], &made.json()["snippet"]["id"]), (201, &json!(1), &json!(1)));
    let again = post("/api/v4/snippets/1/repository_storage_moves");
    assert_eq!(again.json(), json!({"message": {"snippet": ["is read-only"]}}));
    let made = post("/api/v4/groups/web/repository_storage_moves");
    assert_eq!((made.status, &made.json()["id"], &made.json()["group"]["name"]), (201, &json!(1), &json!("web")));
    let again = post("/api/v4/groups/1/repository_storage_moves");
    assert_eq!(again.json(), json!({"message": {"group": ["is read-only"]}}));
    let bulk = json!({ "source_storage_name": "default", "destination_storage_name": "second" });
    let path = "/api/v4/group_repository_storage_moves";
    let accepted = ask(&fleet, &fleet.gitlab_token, "POST", path, Some(&bulk)).expect("answered");
    assert_eq!((accepted.status, accepted.json()), (202, json!({"message": "202 Accepted"})));
    assert_eq!(get(&fleet, "/group_repository_storage_moves").header("x-total"), Some("7"), "each once");
    assert_eq!(user(&fleet, "/snippet_repository_storage_moves").status, 403);
}

#[test]
fn projects_stop_at_an_offset_and_go_on_by_keyset() {
    let world = World::new();
    let mut wanted = synthetic(spec(&[("poisoned_project", 7), ("pending_delete", 9), ("hidden", 11)]));
    (wanted.repositories, wanted.fork_networks) = (20, 1);
    let fleet = world.ensure(&wanted).expect("up");
    let far = get(&fleet, "/projects?per_page=100&page=501");
    assert_eq!(far.status, 405);
    assert!(far.json()["error"].as_str().expect("told").contains("maximum allowed offset of 50000"));
    assert_eq!(get(&fleet, "/projects?per_page=100&page=500").status, 200);

    // One broken project spoils each page that holds it.
    let broken = json!({"message": "500 Internal Server Error"});
    for path in ["/projects?per_page=100", "/projects?pagination=keyset&order_by=id&sort=asc&id_after=5", "/projects/7"]
    {
        let answer = get(&fleet, path);
        assert_eq!((answer.status, answer.json()), (500, broken.clone()), "{path}");
    }
    // Two kinds are left out unless asked for.
    let list = "/projects?pagination=keyset&order_by=id&sort=asc&id_after=7&per_page=6";
    assert_eq!(ids(&get(&fleet, list)), [8, 10, 12, 13, 14, 15]);
    let all = get(&fleet, &format!("{list}&include_pending_delete=true&include_hidden=true"));
    assert_eq!(ids(&all), [8, 9, 10, 11, 12, 13]);
    assert!(all.header("link").expect("goes on").contains("id_after=13"));
    assert_eq!(ids(&user(&fleet, &format!("{list}&include_hidden=true"))), [8, 10, 12, 13, 14, 15]);
    for path in ["/projects/9", "/projects/11", "/projects/9/storage"] {
        assert_eq!(get(&fleet, path).status, 404);
    }
    let moves = get(&fleet, "/projects/9/repository_storage_moves");
    assert_eq!((moves.status, moves.body.as_str()), (200, "[]"));

    // Forks are told, their pool is not.
    assert_eq!(get(&fleet, "/projects/13").json()["forks_count"], 3);
    let fork = get(&fleet, "/projects/14").json();
    assert_eq!(fork["forked_from_project"]["id"], 13);
    assert_eq!(fork["forked_from_project"]["repository_storage"], "default");
}

#[test]
fn the_free_edition_has_no_group_wikis_and_heeds_no_filter() {
    let world = World::new();
    let mut wanted = synthetic(spec(&[]));
    (wanted.snippets, wanted.group_wikis) = (3, 2);
    wanted.gitlab_version = "16.3.0".into();
    let fleet = world.ensure(&wanted).expect("up");
    assert_eq!(get(&fleet, "/metadata").json()["enterprise"], false);
    let snippets = get(&fleet, "/snippets/all?repository_storage=second");
    assert_eq!(ids(&snippets), [3, 2, 1]);
    assert_eq!(snippets.json()[0]["repository_storage"], "default");
    let groups = get(&fleet, "/groups?repository_storage=second&order_by=id");
    assert_eq!(ids(&groups), [1, 2]);
    assert!(groups.json()[0].get("repository_storage").is_none());
    for path in ["/group_repository_storage_moves", "/groups/1/repository_storage_moves"] {
        assert_eq!(get(&fleet, path).json(), json!({"error": "404 Not Found"}), "{path}");
    }
    assert_eq!(post_move(&fleet, 1, "second").expect("answered").status, 201);
    assert!(get(&fleet, "/project_repository_storage_moves/1").json().get("error_message").is_none(), "since 16.7");
}

#[test]
fn limits_answer_in_their_own_forms() {
    let world = World::new();
    let fleet = world.ensure(&synthetic(with_fault("projects_limit", 2, 1))).expect("up");
    assert_eq!(get(&fleet, "/projects/1").status, 200);
    assert_eq!(get(&fleet, "/projects/1/storage").status, 200, "has no limit of its own");
    let limited = get(&fleet, "/projects");
    let text = "This endpoint has been requested too many times. Try again later.";
    assert_eq!((limited.status, limited.json()), (429, json!({"message": {"error": text}})));
    assert_eq!(limited.header("retry-after"), None);
    assert_eq!(get(&fleet, "/groups").status, 200);
    drop(world);

    // The middleware's, for as long as its period lasts; since 18.0 every answer tells of it.
    for (version, always) in [("18.2.0-ee", true), ("17.11.0-ee", false)] {
        let world = World::new();
        let mut wanted = synthetic(with_fault("request_budget", 2, 86_400));
        wanted.gitlab_version = version.into();
        let fleet = world.ensure(&wanted).expect("up");
        let told = |answer: &Answer| -> Vec<Option<String>> {
            let names = ["ratelimit-name", "ratelimit-limit", "ratelimit-observed", "ratelimit-remaining"];
            headers(answer, &names).into_iter().map(|h| h.map(str::to_owned)).collect()
        };
        let figures = |observed: &str, remaining: &str| {
            ["throttle_authenticated_api", "1", observed, remaining].map(|t| Some(t.to_owned())).to_vec()
        };
        let first = get(&fleet, "/version");
        assert_eq!(first.status, 200);
        assert_eq!(told(&first), if always { figures("1", "1") } else { vec![None; 4] });
        assert_eq!((first.header("retry-after"), first.header("ratelimit-resettime")), (None, None));
        get(&fleet, "/version");
        let third = get(&fleet, "/version");
        assert_eq!((third.status, third.body.as_str()), (429, "Retry later\n"));
        assert!(third.header("content-type").is_some_and(|t| t.starts_with("text/plain")));
        assert_eq!(told(&third), figures("3", "0"));
        let number = |name: &str| third.header(name).and_then(|v| v.parse::<i64>().ok()).expect("a number");
        let now = jiff::Timestamp::now().as_second();
        let until = number("ratelimit-reset") - now;
        assert!((0..=86_400).contains(&until) && number("ratelimit-reset") % 86_400 == 0);
        assert!(number("retry-after").abs_diff(until.max(1)) <= 2);
        assert!(third.header("ratelimit-resettime").expect("told").ends_with(" GMT"));
    }
}

#[test]
fn trouble_lasts_by_the_fleets_clock() {
    let world = World::new();
    let mut wanted = synthetic(with_fault("server_errors", 1, 1));
    // Its ten minutes are a second of whoever asks.
    wanted.speed = 600;
    let fleet = world.ensure(&wanted).expect("up");
    let asked = || (0..6).filter(|_| get(&fleet, "/version").status == 500).count();
    assert_eq!(asked(), 2, "every third");
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert_eq!(asked(), 0, "over");
}

/// The states of a fleet's first moves of projects.
fn states(fleet: &Endpoints) -> Vec<String> {
    let moves = get(fleet, "/project_repository_storage_moves").json();
    let mut states: Vec<String> =
        moves.as_array().expect("a list").iter().map(|m| m["state"].as_str().expect("told").to_owned()).collect();
    states.reverse();
    states
}

#[test]
fn what_is_stuck_outlives_a_kill_and_keeps_no_process_up() {
    let world = World::new();
    let mut wanted = spec(&[("dead_end_b", 1), ("stuck_scheduled", 2), ("dead_end_a", 3)]);
    (wanted.snippets, wanted.group_wikis) = (2, 1);
    let fleet = world.ensure(&wanted).expect("up");
    for project in 1..=3 {
        assert_eq!(post_move(&fleet, project, "second").expect("answered").status, 201);
    }
    let kind_of = ["started", "scheduled", "failed"];
    let begun = std::time::Instant::now();
    while states(&fleet) != kind_of {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", states(&fleet));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(Command::new("kill").args(["-9", &fleet.pid.to_string()]).status().expect("ran").success());
    let fleet = world.ensure(&wanted).expect("up again");
    assert_eq!(states(&fleet), kind_of);
    let refused = post_move(&fleet, 1, "second").expect("answered");
    assert_eq!(refused.json(), json!({"message": {"project": ["is read-only"]}}));

    // Nobody asks, nothing goes on: it ends, and comes back as it was.
    let begun = std::time::Instant::now();
    while tranship::sandbox::running(&world.dir).expect("asked").is_some() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        // Asking is what keeps it up.
        std::thread::sleep(Duration::from_secs(7));
    }
    let fleet = world.ensure(&wanted).expect("up once more");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let container = |id| tranship::model::Container { kind: ContainerKind::Project, id };
    let repair = |id| runtime.block_on(tranship::sandbox::repair(&fleet, container(id)));
    assert_eq!(repair(1).expect("repaired"), [1]);
    assert_eq!(repair(3).expect("repaired"), [] as [u64; 0]);
    let unknown = repair(99).expect_err("nobody");
    assert!(unknown.message.contains("project-99"), "{}", unknown.message);
    assert_eq!(states(&fleet), ["failed", "scheduled", "failed"]);
    assert_eq!(post_move(&fleet, 1, "second").expect("answered").status, 201);
    assert_eq!(ended(&fleet, 4), "finished");
}

#[test]
fn real_snippets_wikis_and_pools_move_for_real() {
    let world = World::new();
    let mut wanted = spec(&[]);
    (wanted.repositories, wanted.snippets, wanted.group_wikis, wanted.fork_networks) = (16, 2, 1, 1);
    let fleet = world.ensure(&wanted).expect("up");
    let folder = |storage: &str, kind, id| {
        let path = relative_path(tranship::model::Container { kind, id }, RepositoryRole::Main);
        world.dir.join("storages").join(storage).join(path).into_std_path_buf()
    };
    let project = |storage: &str, id| folder(storage, ContainerKind::Project, id);
    let snippet = |storage: &str| folder(storage, ContainerKind::Snippet, 1);
    let before = git(&snippet("default"), &["for-each-ref"]);
    assert!(before.contains("refs/heads/main"));
    let to = json!({ "destination_storage_name": "second" });
    for path in ["snippets/1", "groups/1"] {
        let path = format!("/api/v4/{path}/repository_storage_moves");
        assert_eq!(ask(&fleet, &fleet.gitlab_token, "POST", &path, Some(&to)).expect("answered").status, 201);
    }
    let alternates = |storage: &str, id| project(storage, id).join("objects/info/alternates");
    let pool = "@pools/6b/86/6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b.git";
    let linked = std::fs::read_to_string(alternates("default", 14)).expect("borrows");
    assert_eq!(linked, format!("../../../../../{pool}/objects\n"));
    // All four at once: one pool is made of it, however they meet.
    for id in 13..=16 {
        assert_eq!(post_move(&fleet, id, "second").expect("answered").status, 201);
    }
    for id in 1..=4 {
        assert_eq!(ended(&fleet, id), "finished");
    }
    let gone = |storage: &str| !world.dir.join("storages").join(storage).join(pool).exists();
    let begun = std::time::Instant::now();
    while !gone("default") {
        assert!(begun.elapsed() < Duration::from_secs(30), "the source's pool stays");
        get(&fleet, "/version");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!gone("second"));
    for id in 13..=16 {
        assert!(!project("default", id).exists() && alternates("second", id).exists());
        git(&project("second", id), &["fsck", "--strict"]);
    }
    assert_eq!(git(&snippet("second"), &["for-each-ref"]), before);
    assert!(!snippet("default").exists() && folder("second", ContainerKind::GroupWiki, 1).exists());
}

#[test]
fn a_world_of_an_older_layout_is_refused() {
    let world = World::new();
    std::fs::create_dir_all(&world.dir).expect("made");
    std::fs::write(world.dir.join("world.json"), r#"{"format":1,"spec":{},"changes":[]}"#).expect("written");
    let refused = world.ensure(&spec(&[])).expect_err("refused");
    assert!(refused.message.contains("has the layout 1, this version knows 2"), "{}", refused.message);
    assert!(refused.help.expect("help").contains("tranship sandbox reset"));
}
