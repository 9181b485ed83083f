//! The fleet over sockets, as a process of its own: GitLab's API as documented, moves that copy for real, kills that
//! lose nothing, faults that reach the wire.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};
use tranship::model::{
    Bytes, Container, ContainerKind, RepositoryRole, SandboxConnection, SandboxFault, SandboxStorage, StorageName,
    relative_path,
};
use tranship::sandbox::{self, Endpoints};

pub(crate) fn spec(faults: &[(&str, u32)]) -> SandboxConnection {
    let storage = |name: &str| SandboxStorage {
        name: StorageName::new(name).expect("valid"),
        disk: Bytes(1 << 34),
        weight: None,
    };
    SandboxConnection {
        name: "office".into(),
        repositories: 12,
        snippets: 0,
        group_wikis: 0,
        fork_networks: 0,
        real_limit: 200,
        seed: 7,
        speed: 60,
        workers: 4,
        gitlab_version: "18.1.1-ee".into(),
        gitaly_version: "18.1.1".into(),
        storages: vec![storage("default"), storage("second")],
        pods: Default::default(),
        faults: faults.iter().map(|(k, nth)| SandboxFault { kind: (*k).into(), nth: *nth, count: 1 }).collect(),
    }
}

/// Not a test: the fleet's process, started by the script that [`World::new`] writes.
#[test]
#[ignore = "the process that the other tests start"]
fn process() {
    let Some(dir) = std::env::var("SANDBOX_TEST_DIR").ok().map(Utf8PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let served = runtime.block_on(sandbox::serve(&dir, None, Some(Duration::from_secs(5)), &mut |_| ()));
    if let Err(e) = served {
        // As the binary ends: with its message last, and no test runner's words after it.
        let _ = writeln!(std::io::stderr(), "{e}");
        std::process::exit(1);
    }
}

pub(crate) struct World {
    _folder: tempfile::TempDir,
    pub(crate) dir: Utf8PathBuf,
    exe: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let dir = Utf8Path::from_path(folder.path()).expect("UTF-8").join("sandbox/office");
        let exe = folder.path().join("tranship");
        // Stands in for the binary: the test's own process, told what `sandbox serve --dir DIR --idle 30` says.
        let own = std::env::current_exe().expect("known");
        let script = format!(
            "#!/bin/sh\n[ \"$1 $2 $3 $5\" = 'sandbox serve --dir --idle' ] || exit 3\nSANDBOX_TEST_DIR=\"$4\" exec {} \
             sandbox_fleet::process --exact --ignored --nocapture\n",
            own.display()
        );
        std::fs::write(&exe, script).expect("written");
        std::fs::set_permissions(&exe, std::fs::Permissions::from_mode(0o755)).expect("set");
        Self { _folder: folder, dir, exe }
    }

    pub(crate) fn ensure(&self, spec: &SandboxConnection) -> Result<Endpoints, sandbox::SandboxError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(sandbox::ensure(&self.dir, &self.exe, spec))
    }

    fn reset(&self) -> Result<(), sandbox::SandboxError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(sandbox::reset(&self.dir))
    }

    fn folder(&self, storage: &str, project: u64) -> PathBuf {
        let path = relative_path(Container { kind: ContainerKind::Project, id: project }, RepositoryRole::Main);
        self.dir.join("storages").join(storage).join(path).into_std_path_buf()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        std::thread::scope(|scope| drop(scope.spawn(|| self.reset()).join()));
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

pub(crate) fn ask(
    fleet: &Endpoints,
    token: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> std::io::Result<Answer> {
    let host = fleet.gitlab_url.strip_prefix("http://").expect("http");
    let mut stream = TcpStream::connect(host)?;
    let body = body.map(ToString::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nPRIVATE-TOKEN: {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok()).expect("a status");
    let headers = lines.filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()));
    Ok(Answer { status, headers: headers.collect(), body: body.to_owned() })
}

pub(crate) fn get(fleet: &Endpoints, path: &str) -> Answer {
    ask(fleet, &fleet.gitlab_token, "GET", &format!("/api/v4{path}"), None).expect("answered")
}

pub(crate) fn post_move(fleet: &Endpoints, project: u64, to: &str) -> std::io::Result<Answer> {
    let path = format!("/api/v4/projects/{project}/repository_storage_moves");
    ask(fleet, &fleet.gitlab_token, "POST", &path, Some(&json!({ "destination_storage_name": to })))
}

fn state(fleet: &Endpoints, id: u64) -> String {
    let answer = get(fleet, &format!("/project_repository_storage_moves/{id}"));
    answer.json()["state"].as_str().expect("a state").to_owned()
}

pub(crate) fn ended(fleet: &Endpoints, id: u64) -> String {
    let begun = Instant::now();
    loop {
        let state = state(fleet, id);
        if ["finished", "failed", "cleanup failed"].contains(&state.as_str()) {
            return state;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{state} for too long");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn git(folder: &std::path::Path, arguments: &[&str]) -> String {
    let output = Command::new("git").arg("--git-dir").arg(folder).args(arguments).output().expect("git is on PATH");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_move_over_sockets_takes_the_repository_along() {
    let world = World::new();
    // Slow: it must be frozen still when it is pushed to.
    let slow = SandboxConnection { speed: 2, ..spec(&[]) };
    let fleet = world.ensure(&slow).expect("up");
    let mode = std::fs::metadata(world.dir.join("endpoint.json")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(world.ensure(&slow).expect("found"), fleet, "one process for all");
    let before = git(&world.folder("default", 1), &["for-each-ref"]);
    let made = post_move(&fleet, 1, "second").expect("answered");
    assert_eq!(made.status, 201);
    let made = made.json();
    assert_eq!((&made["state"], &made["source_storage_name"]), (&json!("scheduled"), &json!("default")));
    let again = post_move(&fleet, 1, "second").expect("answered");
    assert_eq!((again.status, again.json()), (400, json!({"message": {"project": ["is read-only"]}})));
    let commit = json!({"branch": "main", "commit_message": "Push"});
    let push = || ask(&fleet, &fleet.gitlab_token, "POST", "/api/v4/projects/1/repository/commits", Some(&commit));
    assert_eq!(push().expect("answered").status, 403, "frozen");
    assert_eq!(ended(&fleet, 1), "finished");
    assert!(!world.folder("default", 1).exists());
    assert_eq!(git(&world.folder("second", 1), &["for-each-ref"]), before);
    git(&world.folder("second", 1), &["fsck", "--strict"]);
    assert_eq!(get(&fleet, "/projects/1").json()["repository_storage"], "second");
    let pushed = push().expect("answered");
    assert_eq!(pushed.status, 201);
    let tip = git(&world.folder("second", 1), &["rev-parse", "refs/heads/main"]);
    assert_eq!(pushed.json()["id"], tip.trim());
}

#[test]
fn rest_answers_as_gitlab_does() {
    let world = World::new();
    let fleet = world.ensure(&spec(&[])).expect("up");
    let admin = fleet.gitlab_token.clone();
    assert_eq!(get(&fleet, "/metadata").json()["version"], "18.1.1-ee");
    let nobody = ask(&fleet, "wrong", "GET", "/api/v4/metadata", None).expect("answered");
    assert_eq!((nobody.status, nobody.json()), (401, json!({"message": "401 Unauthorized"})));
    let user = |path: &str| ask(&fleet, "glpat-sandbox-user", "GET", path, None).expect("answered");
    assert_eq!(user("/api/v4/application/settings").json(), json!({"message": "403 Forbidden"}));

    // The filter is dropped silently, and the field is not there.
    let silent = user("/api/v4/projects?repository_storage=second&per_page=100").json();
    assert_eq!(silent.as_array().map(Vec::len), Some(12));
    assert!(silent[0].get("repository_storage").is_none());

    // Keyset: Link on every page that is not empty, nothing else.
    let first = get(
        &fleet,
        "/projects?pagination=keyset&order_by=id&sort=asc&per_page=12&repository_storage=default&statistics=true",
    );
    let rows = first.json();
    assert_eq!(rows.as_array().map(Vec::len), Some(12));
    assert!(rows[0]["statistics"]["repository_size"].as_u64() > Some(1000));
    let link = first.header("link").expect("also on the last page");
    assert!(link.contains("id_after=12") && link.ends_with("rel=\"next\""), "{link}");
    assert!(first.header("x-total").is_none());
    let last = get(&fleet, "/projects?pagination=keyset&order_by=id&sort=asc&id_after=12&repository_storage=default");
    assert_eq!((last.body.as_str(), last.header("link")), ("[]", None));
    let refused = get(&fleet, "/projects?pagination=keyset");
    assert_eq!(refused.status, 405);

    // Offset pages.
    let page = get(&fleet, "/projects?per_page=5&page=3");
    let header = |name: &str| page.header(name);
    assert_eq!((header("x-total"), header("x-total-pages"), header("x-page")), (Some("12"), Some("3"), Some("3")));
    assert_eq!((header("x-next-page"), header("x-prev-page")), (Some(""), Some("2")));
    assert!(!header("link").expect("links").contains("rel=\"next\""));
    assert_eq!(get(&fleet, "/projects?per_page=0").status, 400);
    assert_eq!(get(&fleet, "/snippets/all?repository_storage=default").header("x-total"), Some("0"));

    // One project, by id and by path.
    let path = rows[0]["path_with_namespace"].as_str().expect("a path").replace('/', "%2F");
    assert_eq!(get(&fleet, &format!("/projects/{path}")).json()["id"], 1);
    let storage = get(&fleet, "/projects/1/storage").json();
    assert_eq!(storage["disk_path"], "@hashed/6b/86/6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b");
    assert_eq!(get(&fleet, "/projects/99").json(), json!({"message": "404 Project Not Found"}));

    // Weights: replaced as a whole, coerced, checked.
    let put = |weights: Value| {
        let body = json!({ "repository_storages_weighted": weights });
        ask(&fleet, &admin, "PUT", "/api/v4/application/settings", Some(&body)).expect("answered")
    };
    assert_eq!(put(json!({"second": "7x"})).json()["repository_storages_weighted"], json!({"default": 0, "second": 7}));
    let unknown = put(json!({"gone": 1}));
    let message = json!({"message": {"repository_storages_weighted": ["can't include: gone"]}});
    assert_eq!((unknown.status, unknown.json()), (400, message));
    let wide = put(json!({"second": 101})).json();
    assert_eq!(wide["message"]["repository_storages_weighted"][0], "value for 'second' must be between 0 and 100");
    assert_eq!(put(json!({"second": true})).status, 500);
    assert_eq!(put(json!(3)).json(), json!({"error": "repository_storages_weighted is invalid"}));

    // What a POST checks.
    let wrong = post_move(&fleet, 1, "nowhere").expect("answered");
    let message = json!({"message": {"destination_storage_name": ["is not included in the list"]}});
    assert_eq!((wrong.status, wrong.json()), (400, message));
    assert_eq!(post_move(&fleet, 99, "second").expect("answered").status, 404);
    assert_eq!(get(&fleet, "/project_repository_storage_moves/1").status, 404);
}

/// Schedules eight moves, kills the fleet at once, and finds all of them ended well by the next one.
fn survives_a_kill(world: &World, spec: &SandboxConnection) {
    let fleet = world.ensure(spec).expect("up");
    for id in 1..=8 {
        assert_eq!(post_move(&fleet, id, "second").expect("answered").status, 201);
    }
    assert!(Command::new("kill").args(["-9", &fleet.pid.to_string()]).status().expect("ran").success());
    let revived = world.ensure(spec).expect("up again");
    assert_ne!(revived.pid, fleet.pid);
    assert_eq!((revived.fleet_epoch, &revived.gitlab_token), (fleet.fleet_epoch, &fleet.gitlab_token));
    for id in 1..=8 {
        assert_eq!(ended(&revived, id), "finished", "move {id}");
        assert_eq!(get(&revived, &format!("/projects/{id}")).json()["repository_storage"], "second");
    }
    assert_eq!(get(&revived, "/project_repository_storage_moves").header("x-total"), Some("8"));
}

#[test]
fn a_kill_loses_nothing_and_moves_go_on() {
    let world = World::new();
    survives_a_kill(&world, &spec(&[]));
    for id in 1..=8 {
        assert!(!world.folder("default", id).exists());
        assert!(world.folder("second", id).exists());
    }
}

#[test]
fn a_synthetic_world_survives_a_kill_too() {
    let world = World::new();
    let mut spec = spec(&[]);
    spec.repositories = 2_000;
    // Heavy-tailed sizes: what is drawn for the first eight fits, and moves fast enough.
    spec.speed = 600;
    spec.storages.iter_mut().for_each(|s| s.disk = Bytes(1 << 50));
    survives_a_kill(&world, &spec);
    assert!(!world.dir.join("storages").exists());
    let page = get(&world.ensure(&spec).expect("up"), "/projects?repository_storage=default&per_page=1");
    assert_eq!(page.header("x-total"), Some("1992"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_source_can_be_read_before_its_move_is_over() {
    let world = World::new();
    let fleet = tokio::task::block_in_place(|| {
        let runtime = tokio::runtime::Handle::current();
        runtime.block_on(sandbox::ensure(&world.dir, &world.exe, &spec(&[])))
    })
    .expect("up");
    let name = StorageName::new("default").expect("valid");
    let address = format!("http://{}", fleet.gitaly[&name]);
    let channel = tonic::transport::Channel::from_shared(address).expect("address").connect().await.expect("connected");
    // The fourth project has 10,000 references.
    assert_eq!(post_move(&fleet, 4, "second").expect("answered").status, 201);
    let mut client = tranship::wire::ref_service_client::RefServiceClient::new(channel);
    let mut question = tonic::Request::new(tranship::wire::ListRefsRequest {
        repository: Some(tranship::wire::Repository {
            storage_name: "default".into(),
            relative_path: relative_path(Container { kind: ContainerKind::Project, id: 4 }, RepositoryRole::Main),
            ..Default::default()
        }),
        patterns: vec![b"refs/".to_vec()],
        head: true,
        ..Default::default()
    });
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let time = jiff::Timestamp::now().as_second().to_string();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(fleet.gitaly_token.as_bytes()).expect("any length");
    mac.update(time.as_bytes());
    let header = format!("Bearer v2.{}.{time}", hex::encode(mac.finalize().into_bytes()));
    question.metadata_mut().insert("authorization", header.parse().expect("ASCII"));
    let mut stream = client.list_refs(question).await.expect("still there").into_inner();
    let mut references = 0;
    while let Some(message) = stream.message().await.expect("whole") {
        references += message.references.len();
    }
    assert!(references > 10_000);
    tokio::task::block_in_place(|| assert_eq!(ended(&fleet, 1), "finished"));
    tokio::task::block_in_place(|| drop(world));
}

#[test]
fn faults_reach_the_wire() {
    let world = World::new();
    let faults = [("lost_response", 1), ("refuse_move", 2), ("fast_move", 2), ("corrupt_copy", 1), ("rate_limit", 5)];
    let fleet = world.ensure(&spec(&faults)).expect("up");
    post_move(&fleet, 1, "second").err().expect("cut before the answer");
    assert_eq!(post_move(&fleet, 4, "second").expect("answered").status, 400);
    assert_eq!(post_move(&fleet, 4, "second").expect("answered").status, 201);
    assert!(!world.folder("default", 4).exists(), "over before the answer");
    assert_eq!(get(&fleet, "/metadata").status, 200);
    let limited = get(&fleet, "/metadata");
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("1")));
    assert_eq!(ended(&fleet, 1), "finished", "carried out all the same");
    let (lost, whole) = (world.folder("second", 1), world.folder("second", 4));
    let references = git(&lost, &["for-each-ref"]);
    assert!(references.contains("refs/heads/main") && git(&whole, &["for-each-ref"]).lines().count() > 10_000);
    git(&lost, &["fsck"]);
}

#[test]
fn another_block_is_refused_and_reset_is_the_way_out() {
    let world = World::new();
    let fleet = world.ensure(&spec(&[])).expect("up");
    let mut other = spec(&[("fail_move", 1)]);
    other.seed = 8;
    let refused = world.ensure(&other).expect_err("refused");
    assert!(refused.message.contains("seed was 7 and is 8"), "{}", refused.message);
    assert!(refused.message.contains("the faults ordered was none and is fail_move"), "{}", refused.message);
    assert!(refused.help.expect("help").contains("tranship sandbox reset"));

    // A storage more is taken up by the world that runs.
    let mut wider = spec(&[]);
    let name = StorageName::new("third").expect("valid");
    wider.storages.push(SandboxStorage { name: name.clone(), disk: Bytes(1 << 30), weight: None });
    let grown = world.ensure(&wider).expect("adopted");
    assert!(grown.pid == fleet.pid && grown.gitaly.contains_key(&name));
    assert_eq!(get(&grown, "/application/settings").json()["repository_storages_weighted"]["third"], 0);
    assert_eq!(post_move(&grown, 1, "third").expect("answered").status, 201);
    assert_eq!(ended(&grown, 1), "finished");

    world.reset().expect("reset");
    assert!(!world.dir.exists());
    assert!(sandbox::running(&world.dir).expect("asked").is_none());
    assert_eq!(world.ensure(&other).expect("anew").gitaly.len(), 2);
}

#[test]
fn many_starters_get_one_fleet() {
    let world = World::new();
    let fleets: Vec<Endpoints> = std::thread::scope(|scope| {
        let starters: Vec<_> = (0..4).map(|_| scope.spawn(|| world.ensure(&spec(&[])).expect("up"))).collect();
        starters.into_iter().map(|s| s.join().expect("joined")).collect()
    });
    assert!(fleets.iter().all(|f| f.pid == fleets[0].pid));
}

#[test]
fn an_idle_fleet_ends_by_itself() {
    let world = World::new();
    let fleet = world.ensure(&spec(&[])).expect("up");
    let begun = Instant::now();
    while sandbox_alive(&fleet) {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(begun.elapsed() > Duration::from_secs(4));
    assert!(!world.dir.join("endpoint.json").exists());
}

fn sandbox_alive(fleet: &Endpoints) -> bool {
    TcpStream::connect(fleet.gitlab_url.strip_prefix("http://").expect("http")).is_ok()
}
