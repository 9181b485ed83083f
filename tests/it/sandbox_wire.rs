//! The contract: our Gitaly answers each recorded question with the status and the shape that a real one answered with.
//! The repositories that the recording describes are rebuilt with git, so object ids differ and everything else holds.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tranship::model::{Bytes, SandboxConnection, SandboxStorage, StorageName};
use tranship::sandbox::Endpoints;
use tranship::wire::*;

const OBJECTS: &str = "@hashed/ff/ff/ffff000000000000000000000000000000000000000000000000000000000000.git";

fn path_of(hash: &str) -> String {
    format!("@hashed/{}/{}/{hash}.git", &hash[..2], &hash[2..4])
}

fn git(folder: &Path, arguments: &[&str], input: &[u8]) -> String {
    std::fs::create_dir_all(folder).expect("made");
    let mut child = Command::new("git")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .arg("--git-dir")
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git is on PATH");
    child.stdin.take().expect("piped").write_all(input).expect("written");
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success(), "git {arguments:?}");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

/// `commits` commits on main, an annotated tag if asked for; returns the tip.
fn history(folder: &Path, commits: u32, words: &str, tagged: bool) -> String {
    use std::fmt::Write as _;
    let mut stream = String::new();
    let who = "A <a@example.com> 1700000000 +0000";
    for n in 0..commits {
        let text = format!("{words} {n}");
        let _ = write!(
            stream,
            "commit refs/heads/main\nauthor {who}\ncommitter {who}\ndata {}\n{text}\nM 100644 inline f{n}\ndata {}\n{text}\n\n",
            text.len(),
            text.len()
        );
    }
    if tagged {
        let _ = write!(
            stream,
            "reset refs/tags/v1\nfrom refs/heads/main\n\ntag v2\nfrom refs/heads/main\ntagger {who}\ndata 2\nv2\n"
        );
    }
    git(folder, &["-c", "fastimport.unpackLimit=1000", "fast-import", "--quiet"], stream.as_bytes());
    git(folder, &["rev-parse", "refs/heads/main"], b"")
}

struct Double {
    endpoints: Endpoints,
    root: PathBuf,
}

impl Double {
    async fn channel(&self, server: &str) -> Channel {
        let storage = StorageName::new(if server == "a" { "default" } else { "gitaly-b" }).expect("valid");
        let address = format!("http://{}", self.endpoints.gitaly[&storage]);
        Channel::from_shared(address).expect("address").connect().await.expect("connected")
    }

    fn folder(&self, path: &str) -> PathBuf {
        self.root.join("storages/default").join(path)
    }

    fn header(&self, case: &str) -> Option<String> {
        let now = jiff::Timestamp::now().as_second();
        let sign = |token: &str, version: &str, time: i64| {
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(token.as_bytes()).expect("any length");
            mac.update(time.to_string().as_bytes());
            Some(format!("Bearer {version}.{}.{time}", hex::encode(mac.finalize().into_bytes())))
        };
        let token = self.endpoints.gitaly_token.as_str();
        match case {
            "no token" => None,
            "wrong token" => sign("wrong", "v2", now),
            "40 s in the past" => sign(token, "v2", now - 40),
            "25 s in the past" => sign(token, "v2", now - 25),
            "40 s in the future" => sign(token, "v2", now + 40),
            "plain bearer" => Some(format!("Bearer {token}")),
            "v1" => sign(token, "v1", now),
            "garbage" => Some("garbage".to_owned()),
            _ => sign(token, "v2", now),
        }
    }

    fn request<T>(&self, case: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(header) = self.header(case) {
            request.metadata_mut().insert("authorization", header.parse().expect("ASCII"));
        }
        if case.starts_with("replicate") && !case.contains("without") {
            request.metadata_mut().insert("gitaly-servers", "e30=".parse().expect("ASCII"));
        }
        request
    }

    /// Asks a row's question; the answer as protobuf's JSON, one value for a stream.
    async fn ask(&self, row: &Value, revisions: &[String]) -> Result<Value, Status> {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let (case, server, rpc) = (text(&row["case"]), text(&row["server"]), text(&row["rpc"]));
        let asked = &row["request"];
        let repository = |v: &Value| {
            v.as_object().map(|_| Repository {
                storage_name: text(&v["storage_name"]),
                relative_path: text(&v["relative_path"]),
                ..Default::default()
            })
        };
        let channel = self.channel(&server).await;
        let target = repository(&asked["repository"]);
        let pool = asked["object_pool"]
            .as_object()
            .map(|pool| ObjectPool { repository: pool.get("repository").and_then(repository) });
        macro_rules! unary {
            ($client:ident, $method:ident, $message:expr) => {
                $client::new(channel).$method(self.request(&case, $message)).await?.into_inner()
            };
        }
        use commit_service_client::CommitServiceClient as Commits;
        use internal_gitaly_client::InternalGitalyClient as Internal;
        use object_pool_service_client::ObjectPoolServiceClient as Pools;
        use ref_service_client::RefServiceClient as Refs;
        use repository_service_client::RepositoryServiceClient as Repositories;
        use server_service_client::ServerServiceClient as Server;
        Ok(match rpc.as_str() {
            "ServerInfo" => {
                let r = unary!(Server, server_info, ServerInfoRequest {});
                let statuses = r.storage_statuses.iter().map(|s| {
                    json!({"storage_name": s.storage_name, "readable": s.readable, "writeable": s.writeable, "fs_type": s.fs_type,
                        "filesystem_id": s.filesystem_id, "replication_factor": s.replication_factor})
                });
                json!({"server_version": r.server_version, "git_version": r.git_version, "storage_statuses": statuses.collect::<Vec<_>>()})
            }
            "DiskStatistics" => {
                let r = unary!(Server, disk_statistics, DiskStatisticsRequest {});
                let statuses = r.storage_statuses.iter().map(|s| {
                    // An empty fleet uses nothing; the figure itself is the world's.
                    json!({"storage_name": s.storage_name, "available": s.available.to_string(), "used": (s.used + 1).to_string()})
                });
                json!({"storage_statuses": statuses.collect::<Vec<_>>()})
            }
            "ReadinessCheck" => {
                let r = unary!(Server, readiness_check, ReadinessCheckRequest { timeout: None });
                assert!(matches!(r.result, Some(readiness_check_response::Result::OkResponse(_))));
                json!({"ok_response": {}})
            }
            "RepositoryExists" => {
                json!({"exists": unary!(Repositories, repository_exists, RepositoryExistsRequest { repository: target }).exists})
            }
            "RepositorySize" => {
                let r = unary!(Repositories, repository_size, RepositorySizeRequest { repository: target });
                json!({"size": r.size.to_string()})
            }
            "RepositoryInfo" => {
                let r = unary!(Repositories, repository_info, RepositoryInfoRequest { repository: target });
                let references = r.references.map(
                    |x| json!({"loose_count": x.loose_count.to_string(), "packed_size": x.packed_size.to_string()}),
                );
                let objects = r.objects.map(|x| {
                    json!({"size": x.size.to_string(), "recent_size": x.recent_size.to_string(),
                        "stale_size": x.stale_size.to_string(), "keep_size": x.keep_size.to_string()})
                });
                json!({"size": r.size.to_string(), "references": references, "objects": objects})
            }
            "CalculateChecksum" => {
                let r = unary!(Repositories, calculate_checksum, CalculateChecksumRequest { repository: target });
                json!({"checksum": r.checksum})
            }
            "ObjectFormat" => {
                let r = unary!(Repositories, object_format, ObjectFormatRequest { repository: target });
                json!({"format": r.format().as_str_name()})
            }
            "Fsck" => {
                let r = unary!(Repositories, fsck, FsckRequest { repository: target });
                json!({"error": BASE64.encode(r.error)})
            }
            "HasLocalBranches" => {
                let r = unary!(Repositories, has_local_branches, HasLocalBranchesRequest { repository: target });
                json!({"value": r.value})
            }
            "FindDefaultBranchName" => {
                let question = FindDefaultBranchNameRequest { repository: target, head_only: false };
                json!({"name": BASE64.encode(unary!(Refs, find_default_branch_name, question).name)})
            }
            "CreateRepository" => {
                let format = ObjectFormat::from_str_name(&text(&asked["object_format"])).unwrap_or_default();
                let question = CreateRepositoryRequest {
                    repository: target,
                    default_branch: Vec::new(),
                    object_format: format.into(),
                };
                let CreateRepositoryResponse {} = unary!(Repositories, create_repository, question);
                json!({})
            }
            "RemoveRepository" => {
                let question = RemoveRepositoryRequest { repository: target };
                let RemoveRepositoryResponse {} = unary!(Repositories, remove_repository, question);
                json!({})
            }
            "ReplicateRepository" => {
                let question = ReplicateRepositoryRequest { repository: target, source: repository(&asked["source"]) };
                let ReplicateRepositoryResponse {} = unary!(Repositories, replicate_repository, question);
                json!({})
            }
            "GetObjectPool" => {
                let r = unary!(Pools, get_object_pool, GetObjectPoolRequest { repository: target });
                let pool = r.object_pool.and_then(|pool| pool.repository).map(|repository| {
                    let Repository { storage_name, relative_path, .. } = repository;
                    json!({"repository": {"storage_name": storage_name, "relative_path": relative_path}})
                });
                json!({ "object_pool": pool })
            }
            "CreateObjectPool" => {
                let question = CreateObjectPoolRequest { object_pool: pool, origin: repository(&asked["origin"]) };
                let CreateObjectPoolResponse {} = unary!(Pools, create_object_pool, question);
                json!({})
            }
            "LinkRepositoryToObjectPool" => {
                let question = LinkRepositoryToObjectPoolRequest { object_pool: pool, repository: target };
                let LinkRepositoryToObjectPoolResponse {} = unary!(Pools, link_repository_to_object_pool, question);
                json!({})
            }
            "ListRefs" => {
                let patterns = asked["patterns"].as_array().cloned().unwrap_or_default();
                let question = ListRefsRequest {
                    repository: target,
                    patterns: patterns.iter().map(|p| BASE64.decode(text(p)).expect("base64")).collect(),
                    head: asked["head"] == true,
                    peel_tags: asked["peel_tags"] == true,
                    ..Default::default()
                };
                let mut stream = unary!(Refs, list_refs, question);
                let mut messages = Vec::new();
                while let Some(message) = stream.message().await? {
                    let references = message.references.iter().map(|r| {
                        json!({"name": BASE64.encode(&r.name), "target": r.target, "peeled_target": r.peeled_target})
                    });
                    messages.push(json!({"references": references.collect::<Vec<_>>()}));
                }
                Value::Array(messages)
            }
            "WalkRepos" => {
                let question = WalkReposRequest { storage_name: text(&asked["storage_name"]) };
                let mut stream = unary!(Internal, walk_repos, question);
                let mut messages = Vec::new();
                while let Some(message) = stream.message().await? {
                    let time = message.modification_time.map(|t| t.seconds.to_string());
                    messages.push(json!({"relative_path": message.relative_path, "modification_time": time}));
                }
                Value::Array(messages)
            }
            "CheckObjectsExist" => {
                let relative_path =
                    if case.contains("absent repository") { path_of(&"8".repeat(64)) } else { OBJECTS.to_owned() };
                let question = CheckObjectsExistRequest {
                    repository: Some(Repository {
                        storage_name: "default".into(),
                        relative_path,
                        ..Default::default()
                    }),
                    revisions: revisions.iter().map(|r| r.clone().into_bytes()).collect(),
                };
                let mut stream = unary!(Commits, check_objects_exist, tokio_stream::once(question));
                let mut messages = Vec::new();
                while let Some(message) = stream.message().await? {
                    let revisions = message
                        .revisions
                        .iter()
                        .map(|r| json!({"name": BASE64.encode(&r.name), "exists": r.exists}))
                        .collect::<Vec<_>>();
                    messages.push(json!({ "revisions": revisions }));
                }
                Value::Array(messages)
            }
            other => panic!("a recorded call that the test does not know: {other}"),
        })
    }
}

/// Protobuf's JSON leaves out what has its default value.
fn without_defaults(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, v)| !matches!(v, Value::Null | Value::Bool(false)) && *v != json!("") && *v != json!("0"))
            .map(|(k, v)| (k, without_defaults(v)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_defaults).collect(),
        other => other,
    }
}

/// Compares an answer with the recorded one; what depends on object ids, sizes or time by its kind only.
fn compare(at: &str, recorded: &Value, ours: &Value) -> Result<(), String> {
    let differ = || Err(format!("{at}: recorded {recorded}, ours {ours}"));
    let key = at.rsplit('.').next().unwrap_or_default().trim_end_matches(|c: char| "[]0123456789".contains(c));
    match (recorded, ours) {
        (Value::Object(a), Value::Object(b)) => {
            if a.keys().ne(b.keys()) {
                return differ();
            }
            a.iter().try_for_each(|(k, v)| compare(&format!("{at}.{k}"), v, &b[k]))
        }
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                return Err(format!("{at}: recorded {} items, ours {}", a.len(), b.len()));
            }
            a.iter().zip(b).enumerate().try_for_each(|(i, (a, b))| compare(&format!("{at}[{i}]"), a, b))
        }
        (Value::String(a), Value::String(b)) => {
            let hex = |t: &str| t.bytes().all(|c| c.is_ascii_hexdigit());
            let alike = match key {
                "target" | "peeled_target" => a.len() == b.len() && hex(b),
                "checksum" => {
                    hex(b) && b.len() % 2 == 0 && a.trim_matches('0').is_empty() == b.trim_matches('0').is_empty()
                }
                "filesystem_id" => a.len() == b.len(),
                "modification_time" | "available" | "used" | "size" | "recent_size" => !b.is_empty(),
                "error" => {
                    let words = |t: &str| {
                        let text = String::from_utf8(BASE64.decode(t).expect("base64")).expect("UTF-8");
                        text.split_whitespace().filter(|w| w.len() != 40).map(str::to_owned).collect::<Vec<_>>()
                    };
                    words(a) == words(b)
                }
                _ => a == b,
            };
            if alike { Ok(()) } else { differ() }
        }
        (a, b) if a == b => Ok(()),
        _ => differ(),
    }
}

fn code(name: &str) -> Code {
    match name {
        "OK" => Code::Ok,
        "INVALID_ARGUMENT" => Code::InvalidArgument,
        "NOT_FOUND" => Code::NotFound,
        "ALREADY_EXISTS" => Code::AlreadyExists,
        "PERMISSION_DENIED" => Code::PermissionDenied,
        "UNAUTHENTICATED" => Code::Unauthenticated,
        "FAILED_PRECONDITION" => Code::FailedPrecondition,
        "INTERNAL" => Code::Internal,
        other => panic!("a recorded status that the test does not know: {other}"),
    }
}

fn rows() -> Vec<Value> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let elsewhere = std::env::var_os("TRANSHIP_WIRE").map(PathBuf::from);
    let file = elsewhere
        .into_iter()
        .chain([home.join("../shared/wire/gitaly-16.0.json"), home.join("testdata/wire/gitaly-16.0.json")])
        .find(|file| file.is_file())
        .expect("the recording");
    serde_json::from_slice(&std::fs::read(file).expect("read")).expect("JSON")
}

/// Rebuilds what the recording's README describes.
fn build(double: &Double) {
    let named = |prefix: &str| {
        let find = |v: &Value| {
            let path = v["request"]["repository"]["relative_path"].as_str()?;
            path.strip_prefix("@hashed/")?.starts_with(prefix).then(|| path.to_owned())
        };
        rows().iter().find_map(find).expect("a recorded path")
    };
    let make = |prefix: &str| {
        let folder = double.folder(&named(prefix));
        git(&folder, &["init", "--quiet", "--bare", "--template=", "--initial-branch=main"], b"");
        folder
    };
    history(
        &make("6b/86"),
        3,
        "a line that makes the repository larger than one kibibyte, as the recorded one was",
        true,
    );
    let many = make("d4/73");
    let tip = history(&many, 3, "many", false);
    for n in 0..10_000 {
        std::fs::write(many.join(format!("refs/heads/b{n:05}")), format!("{tip}\n")).expect("written");
    }
    let odd = make("4b/22");
    let tip = history(&odd, 3, "odd", false);
    for name in [
        "custom/thing",
        "environments/prod/deployments/1",
        "keep-around/61f205ac4ce064875f6aa7a5eab88a060be7e852",
        "merge-requests/1/head",
        "notes/x",
        "pipelines/77",
        "remotes/origin/main",
        "tmp/abc",
    ] {
        git(&odd, &["update-ref", &format!("refs/{name}"), &tip], b"");
    }
    use std::os::unix::ffi::OsStrExt as _;
    let latin = odd.join("refs/heads").join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    std::fs::write(latin, format!("{tip}\n")).expect("written");
    let corrupt = make("ef/2d");
    history(&corrupt, 3, "c", false);
    let middle = git(&corrupt, &["rev-parse", "refs/heads/main~1"], b"");
    std::fs::remove_file(corrupt.join("objects").join(&middle[..2]).join(&middle[2..])).expect("was loose");
    for prefix in ["2c/62", "e7/f6", "f5/ca"] {
        history(&make(prefix), 1, "one", false);
    }
    let second = double.folder(&path_of("7902699be42c8a8e46fbbb4501726517e86b22c56a189f7625a6da49081b2451"));
    git(&second, &["init", "--quiet", "--bare", "--template=", "--initial-branch=main"], b"");
    let hooks = double.folder(&named("2c/62"));
    std::fs::create_dir_all(hooks.join("custom_hooks")).expect("made");
    std::fs::create_dir_all(hooks.join("info")).expect("made");
    std::fs::write(hooks.join("custom_hooks/update"), "#!/bin/sh\n").expect("written");
    std::fs::write(hooks.join("info/attributes"), "*.bin binary\n").expect("written");
    git(&hooks, &["config", "tranship.test", "yes"], b"");
    std::fs::write(double.folder(&named("f5/ca")).join("HEAD"), "ref: refs/heads/gone\n").expect("written");
    std::fs::create_dir_all(double.folder(&named("1a/65"))).expect("made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gitaly_answers_as_it_was_recorded() {
    let folder = tempfile::tempdir().expect("folder");
    let dir = camino::Utf8PathBuf::from_path_buf(folder.path().join("world")).expect("UTF-8");
    let storage = |name: &str| SandboxStorage {
        name: StorageName::new(name).expect("valid"),
        disk: Bytes(1 << 34),
        weight: None,
    };
    let spec = SandboxConnection {
        name: "wire".into(),
        repositories: 0,
        snippets: 0,
        group_wikis: 0,
        fork_networks: 0,
        real_limit: 200,
        seed: 1,
        speed: 1,
        workers: 1,
        gitlab_version: "18.1.1-ee".into(),
        gitaly_version: String::new(),
        storages: vec![storage("default"), storage("gitaly-b")],
        pods: Default::default(),
        faults: Vec::new(),
    };
    let (announce, announced) = tokio::sync::oneshot::channel();
    let served = dir.clone();
    tokio::spawn(async move {
        let mut announce = Some(announce);
        let mut tell = move |endpoints: &Endpoints| {
            if let Some(announce) = announce.take() {
                drop(announce.send(endpoints.clone()));
            }
        };
        tranship::sandbox::serve(&served, Some(spec), None, &mut tell).await.expect("served");
    });
    let double = Double { endpoints: announced.await.expect("announced"), root: dir.into_std_path_buf() };
    build(&double);
    let plain = double.folder(&path_of("6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"));
    let odd = double.folder(&path_of("4b227777d4dd1fc61c6f884f48641d02b4d121d3fd328cb08b5531fcacdabf8a"));

    let mut held = 0;
    let mut wrong: Vec<String> = Vec::new();
    let mut checksums: BTreeMap<String, String> = BTreeMap::new();
    let mut objects: Vec<String> = Vec::new();
    for row in rows() {
        let case = row["case"].as_str().expect("a name").to_owned();
        match case.as_str() {
            "checksum: after a pipeline reference" => {
                git(&odd, &["update-ref", "refs/pipelines/78", "refs/heads/main"], b"");
            }
            "replicate: again, after a reference was deleted at the source" => {
                git(&plain, &["update-ref", "-d", "refs/tags/v1"], b"");
            }
            _ => {}
        }
        if row["rpc"].is_null() {
            let result = match case.as_str() {
                "files of a replicated repository" => {
                    let copy = path_of("2c624232cdd221771294dfbb310aca000a0df6ac8b66b696d90ef06fdefb64a3");
                    let copy = double.root.join("storages/gitaly-b").join(copy);
                    let config = std::fs::read_to_string(copy.join("config")).expect("read");
                    let there = copy.join("custom_hooks/update").is_file() && copy.join("info/attributes").is_file();
                    if there && config.contains("[tranship]") { Ok(()) } else { Err("not all was copied".to_owned()) }
                }
                "storage folder" => {
                    let root = double.root.join("storages/default");
                    let text = std::fs::read(root.join(".gitaly-metadata")).expect("read");
                    let ours: Value = serde_json::from_slice(&text).expect("JSON");
                    let there = ["+gitaly", "@hashed", "@pools"].iter().all(|folder| root.join(folder).is_dir());
                    if there && ours["gitaly_filesystem_id"].as_str().is_some_and(|id| id.len() == 36) {
                        Ok(())
                    } else {
                        Err("not the same entries".to_owned())
                    }
                }
                "alternates of a replicated pool member" => {
                    let path = path_of("e7f6c011776e8db7cd330b54174fd76f7d0216b612387a5ffcfb81e6f0919683");
                    let borrows = |storage: &str| {
                        let folder = double.root.join("storages").join(storage).join(&path);
                        folder.join("objects/info/alternates").exists()
                    };
                    let recorded = [&row["source has alternates"], &row["destination has alternates"]];
                    let ours = [json!(borrows("default")), json!(borrows("gitaly-b"))];
                    if recorded == [&ours[0], &ours[1]] { Ok(()) } else { Err(format!("ours {ours:?}")) }
                }
                _ => Err("a row without a call that the test does not know".to_owned()),
            };
            match result {
                Ok(()) => held += 1,
                Err(e) => wrong.push(format!("{case}: {e}")),
            }
            continue;
        }
        if row["rpc"] == "CheckObjectsExist" && objects.is_empty() {
            let folder = double.folder(OBJECTS);
            git(&folder, &["init", "--quiet", "--bare", "--template=", "--initial-branch=main"], b"");
            let tip = history(&folder, 2, "objects", true);
            let parsed = |what: &str| git(&folder, &["rev-parse", what], b"");
            objects = vec![tip, parsed("v2"), parsed("main:f0"), parsed("main^{tree}"), "1".repeat(40)];
        }
        let revisions: Vec<String> = row["request"]["revisions"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
            .map(|(n, r)| match r.as_str().expect("text") {
                r if r.len() == 40 => objects[n].clone(),
                "d57a9418" => objects[0][..8].to_owned(),
                r => r.to_owned(),
            })
            .collect();
        let status = row["status"].as_str().expect("a status");
        let result = match double.ask(&row, &revisions).await {
            Err(ours) => {
                let recorded = row["message"].as_str().unwrap_or_default();
                let recorded = recorded.replace("/STORAGE_A/", "/default/").replace("/STORAGE_B/", "/gitaly-b/");
                // The recording's own path for what is absent is not ours.
                let told = |t: &str| t.split(": \"/default/@hashed").next().unwrap_or_default().to_owned();
                if ours.code() == code(status) && told(ours.message()) == told(&recorded) {
                    Ok(())
                } else {
                    Err(format!("recorded {status} {recorded:?}, ours {:?} {:?}", ours.code(), ours.message()))
                }
            }
            Ok(_) if status != "OK" => Err(format!("recorded {status}, ours OK")),
            Ok(answer) => {
                let mut answer = without_defaults(answer);
                let mut recorded = row.get("response").or(row.get("responses")).cloned().unwrap_or_else(|| json!({}));
                if row["rpc"] == "RepositoryInfo" {
                    // Empty messages are there, though all their fields are defaults.
                    assert!(answer.get("references").is_some() && answer.get("objects").is_some(), "{case}");
                }
                if let Some(sizes) = row["references_per_message"].as_array() {
                    let messages = answer.as_array_mut().expect("a stream");
                    let ours: Vec<Value> =
                        messages.iter().map(|m| json!(m["references"].as_array().map_or(0, Vec::len))).collect();
                    let many = row["messages"].as_u64() > Some(20);
                    // Of a long stream only the sizes of 20 messages and the first references were kept.
                    let begins_alike = if many { ours.starts_with(sizes) } else { ours == *sizes };
                    if row["messages"].as_u64() != Some(ours.len() as u64) || !begins_alike {
                        wrong.push(format!("{case}: not as many references in each message"));
                    }
                    messages.truncate(recorded.as_array().map_or(0, Vec::len));
                    if let (true, Some(first)) = (many, messages.first_mut()) {
                        // The recording's last one says only that it was cut there.
                        let kept = recorded[0]["references"].as_array_mut().expect("references");
                        kept.pop();
                        first["references"].as_array_mut().expect("references").truncate(kept.len());
                    }
                }
                if let (Some(theirs), Some(ours)) = (recorded["checksum"].as_str(), answer["checksum"].as_str()) {
                    let known = checksums.entry(theirs.to_owned()).or_insert_with(|| ours.to_owned());
                    if known != ours {
                        wrong.push(format!("{case}: equal checksums were recorded, ours differ"));
                    }
                }
                if row["rpc"] == "CheckObjectsExist" {
                    for message in [&mut recorded, &mut answer].into_iter().flat_map(|v| v.as_array_mut()).flatten() {
                        for revision in message["revisions"].as_array_mut().into_iter().flatten() {
                            revision["name"] = json!("");
                        }
                    }
                }
                compare(&case, &recorded, &answer)
            }
        };
        match result {
            Ok(()) => held += 1,
            Err(e) => wrong.push(format!("{case}: {e}")),
        }
    }
    println!("{held} of {} recorded rows held", rows().len());
    assert!(wrong.is_empty(), "{} rows do not hold:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(held, rows().len());
}
