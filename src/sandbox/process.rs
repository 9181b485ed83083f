//! The fleet as a process of its own: found, started, served, stopped. The folder's lock says who serves it; its
//! endpoint file says where.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::fleet::{Fleet, LOG, SNAPSHOT, STORAGES, write_private};
use super::kubernetes::PodFacts;
use super::{Endpoints, PodNeeds, SandboxError, gitaly, kubernetes, lock, prometheus, rest};
use crate::model::{Container, SandboxConnection, StorageName};

const ENDPOINT: &str = "endpoint.json";
const SPEC: &str = "spec.json";
const LOCK: &str = "lock";
const OUTPUT: &str = "server.log";
/// How long a fleet that a command started waits for the next one.
const IDLE: Duration = Duration::from_secs(30);
/// How often a process that ended at once is started: two starters may meet.
const STARTS: u32 = 3;
/// How long a new fleet may take to come up: a large synthetic world, a slow disk.
const PATIENCE: Duration = Duration::from_secs(60);

fn failed(what: impl std::fmt::Display, error: impl std::fmt::Display) -> SandboxError {
    SandboxError { message: format!("{what}: {error}"), help: None }
}

/// Finds the fleet of a folder, starting its process when none runs.
pub(super) fn ensure(dir: &Utf8Path, exe: &Path, spec: &SandboxConnection) -> Result<Endpoints, SandboxError> {
    fs::create_dir_all(dir).map_err(|e| failed("the sandbox's folder", e))?;
    let begun = Instant::now();
    let mut child: Option<std::process::Child> = None;
    let mut starts = 0;
    loop {
        if let Some(endpoints) = endpoints(dir)? {
            // The fleet answers for its world: it takes up new storages, or says what differs.
            let body = serde_json::to_vec(spec).map_err(|e| failed("the `sandbox` block", e))?;
            match ask(&endpoints, "POST", "/-/sandbox/adopt", &body) {
                Ok((200, answer)) => {
                    return serde_json::from_slice(&answer).map_err(|e| failed("the sandbox's answer", e));
                }
                Ok((409, answer)) => return Err(different(&String::from_utf8_lossy(&answer))),
                // Somebody else's port by now, gone, or ending.
                Ok((401 | 404, _)) | Err(_) => {}
                Ok((status, answer)) => {
                    let said = String::from_utf8_lossy(&answer).chars().take(200).collect::<String>();
                    return Err(SandboxError {
                        message: format!("the running sandbox (process {}) answered {status}: {said}", endpoints.pid),
                        help: Some("If it is of another version, start anew with: tranship sandbox reset".to_owned()),
                    });
                }
            }
        }
        let ended = match &mut child {
            None => true,
            Some(process) => process.try_wait().map_err(|e| failed("the sandbox's process", e))?.is_some(),
        };
        // While another process holds the folder, it is starting, or ending: its end is waited for.
        if ended && !served(dir)? {
            if starts == STARTS {
                let said = fs::read_to_string(dir.join(OUTPUT)).unwrap_or_default();
                let mut last: Vec<&str> = said.lines().rev().take(5).collect();
                last.reverse();
                return Err(SandboxError {
                    message: format!("the sandbox's process ended at once: {}", last.join("\n").trim()),
                    help: Some(format!("See {}, or start anew with: tranship sandbox reset", dir.join(OUTPUT))),
                });
            }
            starts += 1;
            if !dir.join(SNAPSHOT).exists() {
                let text = serde_json::to_vec_pretty(spec).map_err(|e| failed("the `sandbox` block", e))?;
                write_private(&dir.join(SPEC), &text).map_err(|e| failed("the sandbox's folder", e))?;
            }
            child = Some(spawn(dir, exe)?);
        }
        if begun.elapsed() > PATIENCE {
            return Err(SandboxError {
                message: format!("the sandbox of {dir} did not come up within {} s", PATIENCE.as_secs()),
                help: Some(format!("See {}, or start anew with: tranship sandbox reset", dir.join(OUTPUT))),
            });
        }
        std::thread::sleep(Duration::from_millis(15));
    }
}

fn spawn(dir: &Utf8Path, exe: &Path) -> Result<std::process::Child, SandboxError> {
    let output = std::fs::OpenOptions::new().create(true).append(true).open(dir.join(OUTPUT));
    let output = output.map_err(|e| failed(dir.join(OUTPUT), e))?;
    Command::new(exe)
        .args(["sandbox", "serve", "--dir", dir.as_str(), "--idle", &IDLE.as_secs().to_string()])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        // A group of its own: Ctrl-C on tranship is not meant for "GitLab".
        .process_group(0)
        .spawn()
        .map_err(|e| failed(format!("the sandbox's process ({}) did not start", exe.display()), e))
}

fn different(what: &str) -> SandboxError {
    SandboxError {
        message: format!("the `sandbox` block is not the one that this world was made from: {what}"),
        help: Some("Undo the change, or throw the world away with: tranship sandbox reset".to_owned()),
    }
}

/// Says what of a `sandbox` block differs from the one that a world was made from. New storages do not count: an
/// existing world takes them up.
pub(super) fn compare(made: &SandboxConnection, wanted: &SandboxConnection) -> Result<(), SandboxError> {
    let SandboxConnection {
        name,
        repositories,
        snippets,
        group_wikis,
        fork_networks,
        real_limit,
        seed,
        speed,
        workers,
        gitlab_version,
        gitaly_version,
        storages,
        pods,
        faults,
    } = wanted;
    let mut found: Vec<String> = Vec::new();
    let mut differ = |attribute: &str, was: &dyn std::fmt::Display, is: &dyn std::fmt::Display| {
        let (was, is) = (was.to_string(), is.to_string());
        if was != is {
            found.push(format!("{attribute} was {was} and is {is}"));
        }
    };
    differ("its name", &made.name, name);
    differ("repositories", &made.repositories, repositories);
    differ("snippets", &made.snippets, snippets);
    differ("group_wikis", &made.group_wikis, group_wikis);
    differ("fork_networks", &made.fork_networks, fork_networks);
    differ("real_limit", &made.real_limit, real_limit);
    differ("seed", &made.seed, seed);
    differ("speed", &made.speed, speed);
    differ("workers", &made.workers, workers);
    differ("gitlab_version", &made.gitlab_version, gitlab_version);
    differ("gitaly_version", &made.gitaly_version, gitaly_version);
    let knows = |learns| if learns { "ready" } else { "manual" };
    differ("gitlab_knows", &knows(made.pods.gitlab_learns), &knows(pods.gitlab_learns));
    differ("pod_start", &format!("{}s", made.pods.start_seconds), &format!("{}s", pods.start_seconds));
    let weight = |w: Option<crate::model::Weight>| w.map_or_else(|| "none".to_owned(), |w| w.to_string());
    for storage in storages {
        if let Some(old) = made.storages.iter().find(|s| s.name == storage.name) {
            differ(&format!("storage {:?}'s disk", storage.name.as_str()), &old.disk, &storage.disk);
            let attribute = format!("storage {:?}'s weight", storage.name.as_str());
            differ(&attribute, &weight(old.weight), &weight(storage.weight));
        }
    }
    for old in &made.storages {
        if !storages.iter().any(|s| s.name == old.name) {
            differ(&format!("storage {:?}", old.name.as_str()), &"there", &"gone");
        }
    }
    let told = |faults: &[crate::model::SandboxFault]| {
        let mut told: Vec<String> =
            faults.iter().map(|f| format!("{} (nth {}, count {})", f.kind, f.nth, f.count)).collect();
        told.sort();
        if told.is_empty() { "none".to_owned() } else { told.join(", ") }
    };
    differ("the faults ordered", &told(&made.faults), &told(faults));
    if found.is_empty() { Ok(()) } else { Err(different(&found.join("; "))) }
}

/// The endpoint file's content, if there is one that can be read.
fn endpoints(dir: &Utf8Path) -> Result<Option<Endpoints>, SandboxError> {
    match std::fs::read(dir.join(ENDPOINT)) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(dir.join(ENDPOINT), e)),
    }
}

/// The fleet that runs for a folder, if one does: its endpoint file names a process that answers as itself.
///
/// # Errors
/// The endpoint file cannot be read.
pub fn running(dir: &Utf8Path) -> Result<Option<Endpoints>, SandboxError> {
    let Some(endpoints) = endpoints(dir)? else { return Ok(None) };
    let answered = matches!(ask(&endpoints, "GET", "/-/sandbox/alive", b""), Ok((200, _)));
    Ok(answered.then_some(endpoints))
}

/// One request to a fleet's own endpoints, with its token: whoever else listens on that port cannot answer it rightly.
fn ask(endpoints: &Endpoints, method: &str, path: &str, body: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
    let invalid = || std::io::Error::new(std::io::ErrorKind::InvalidData, "not the sandbox's answer");
    let host = endpoints.gitlab_url.strip_prefix("http://").ok_or_else(invalid)?;
    let address = host.parse().map_err(|_| invalid())?;
    let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nPRIVATE-TOKEN: {}\r\nX-Sandbox-Pid: {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        endpoints.gitlab_token,
        endpoints.pid,
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(invalid)?;
    let (head, body) = answer.split_at(end + 4);
    let head = String::from_utf8_lossy(head);
    let status = head.split_ascii_whitespace().nth(1).and_then(|s| s.parse().ok()).ok_or_else(invalid)?;
    Ok((status, body.to_vec()))
}

/// Has a running fleet do what a person does at GitLab's console for a container; the ids of the moves it ended.
pub(super) fn repair(endpoints: &Endpoints, container: Container) -> Result<Vec<u64>, SandboxError> {
    let asked = ask(endpoints, "POST", "/-/sandbox/repair", container.to_string().as_bytes());
    match asked.map_err(|e| failed("the sandbox", e))? {
        (200, answer) => serde_json::from_slice(&answer).map_err(|e| failed("the sandbox's answer", e)),
        (404, _) => Err(SandboxError {
            message: format!("the sandbox's GitLab has no {container}"),
            help: Some("A container is named like project-12, snippet-3 or group_wiki-1.".to_owned()),
        }),
        (status, answer) => {
            Err(failed(format!("the sandbox answered {status}"), String::from_utf8_lossy(&answer).trim()))
        }
    }
}

fn lock_file(dir: &Utf8Path) -> Result<std::fs::File, SandboxError> {
    let file = dir.join(LOCK);
    std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&file).map_err(|e| failed(file, e))
}

/// True while a process serves the folder.
fn served(dir: &Utf8Path) -> Result<bool, SandboxError> {
    match lock_file(dir)?.try_lock() {
        Ok(()) => Ok(false),
        Err(std::fs::TryLockError::WouldBlock) => Ok(true),
        Err(std::fs::TryLockError::Error(e)) => Err(failed("the sandbox's lock", e)),
    }
}

/// Tells a running fleet which storages will be in pods, and what they find in its cluster.
pub(super) fn expect_pods(endpoints: &Endpoints, needs: &PodNeeds) -> Result<Endpoints, SandboxError> {
    serde_json::from_slice(&told(endpoints, "pods", needs)?).map_err(|e| failed("the sandbox's answer", e))
}

/// Tells a running fleet of another cluster's pods.
pub(super) fn relay(endpoints: &Endpoints, pods: &BTreeMap<StorageName, PodFacts>) -> Result<(), SandboxError> {
    told(endpoints, "relay", pods).map(drop)
}

/// Tells a running fleet's Prometheus the labels of storages' servers.
pub(super) fn label(
    endpoints: &Endpoints,
    labels: &BTreeMap<StorageName, BTreeMap<String, String>>,
) -> Result<(), SandboxError> {
    told(endpoints, "labels", labels).map(drop)
}

/// Says that somebody still waits.
pub(super) fn touch(endpoints: &Endpoints) {
    drop(ask(endpoints, "GET", "/-/sandbox/alive", b""));
}

/// Has a running fleet's GitLab learn of a storage.
pub(super) fn know(endpoints: &Endpoints, storage: &StorageName) -> Result<(), SandboxError> {
    told(endpoints, "know", storage).map(drop)
}

/// A request to a running fleet that is a statement.
fn told<T: serde::Serialize>(endpoints: &Endpoints, path: &str, body: &T) -> Result<Vec<u8>, SandboxError> {
    let body = serde_json::to_vec(body).map_err(|e| failed("the sandbox", e))?;
    match ask(endpoints, "POST", &format!("/-/sandbox/{path}"), &body).map_err(|e| failed("the sandbox", e))? {
        (200, answer) => Ok(answer),
        (status, answer) => {
            Err(failed(format!("the sandbox answered {status}"), String::from_utf8_lossy(&answer).trim()))
        }
    }
}

/// Where a running fleet listens; grows when it takes up storages.
pub(super) struct Post {
    dir: Utf8PathBuf,
    endpoints: Mutex<Endpoints>,
    /// Storages that will be in pods.
    expected: Mutex<BTreeSet<StorageName>>,
}

impl Post {
    /// Where it listens now.
    pub(super) fn endpoints(&self) -> Endpoints {
        lock(&self.endpoints).clone()
    }

    fn publish(&self) -> Result<(), SandboxError> {
        let text = serde_json::to_vec_pretty(&self.endpoints()).map_err(|e| failed("the endpoint file", e))?;
        write_private(&self.dir.join(ENDPOINT), &text).map_err(|e| failed("the endpoint file", e))
    }

    /// Takes up storages that will be in pods: their address is known before they are there.
    pub(super) fn expect(&self, storages: impl IntoIterator<Item = StorageName>) {
        lock(&self.expected).extend(storages);
    }

    /// Starts the Gitaly of each storage that has none yet.
    pub(super) async fn serve_storages(&self, fleet: &Arc<Fleet>) -> Result<(), SandboxError> {
        let mut names: BTreeSet<StorageName> = fleet.world(|w| w.storages()).into_iter().collect();
        names.extend(lock(&self.expected).iter().cloned());
        for storage in names {
            if lock(&self.endpoints).gitaly.contains_key(&storage) {
                continue;
            }
            let (listener, address) = listen().await?;
            lock(&self.endpoints).gitaly.insert(storage.clone(), address);
            tokio::spawn(gitaly::serve(gitaly::Server { fleet: Arc::clone(fleet), storage }, listener));
        }
        self.publish()
    }
}

async fn listen() -> Result<(tokio::net::TcpListener, String), SandboxError> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(|e| failed("a port on loopback", e))?;
    let address = listener.local_addr().map_err(|e| failed("a port on loopback", e))?.to_string();
    Ok((listener, address))
}

/// Serves the fleet of a folder.
pub(super) async fn serve(
    dir: &Utf8Path,
    spec: Option<SandboxConnection>,
    idle: Option<Duration>,
    announce: &mut (dyn FnMut(&Endpoints) + Send),
) -> Result<(), SandboxError> {
    fs::create_dir_all(dir).map_err(|e| failed("the sandbox's folder", e))?;
    let held = lock_file(dir)?;
    let mut tries = 0;
    while held.try_lock().is_err() {
        // Whoever only looks whether the folder is served holds the lock for a moment too.
        tries += 1;
        if tries < 20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let pid = endpoints(dir)?.map_or_else(String::new, |e| format!(" (process {})", e.pid));
        return Err(SandboxError {
            message: format!("a sandbox is already served from {dir}{pid}"),
            help: Some("Use it, or end that process first.".to_owned()),
        });
    }
    let spec = match spec {
        None if !dir.join(SNAPSHOT).exists() => {
            let text = fs::read(dir.join(SPEC)).map_err(|e| failed("the folder holds no world", e))?;
            Some(serde_json::from_slice(&text).map_err(|e| failed(dir.join(SPEC), e))?)
        }
        spec => spec,
    };
    let owned = dir.to_owned();
    let opened = tokio::task::spawn_blocking(move || Fleet::open(&owned, spec)).await;
    let fleet = Arc::new(opened.map_err(|e| failed("the sandbox's world", e))??);
    let (listener, address) = listen().await?;
    let (cluster, cluster_address) = listen().await?;
    let (metrics, metrics_address) = listen().await?;
    let endpoints = Endpoints {
        pid: std::process::id(),
        gitlab_url: format!("http://{address}"),
        gitlab_token: fleet.gitlab_token.clone(),
        gitaly: BTreeMap::new(),
        gitaly_token: fleet.gitaly_token.clone(),
        kubernetes_url: format!("http://{cluster_address}"),
        kubernetes_token: fleet.cluster_token.clone(),
        prometheus_url: format!("http://{metrics_address}"),
        fleet_epoch: fleet.fleet_epoch,
        real_epoch: fleet.real_epoch,
        speed: fleet.world(|w| w.spec.speed.max(1)),
    };
    let post = Arc::new(Post { dir: dir.to_owned(), endpoints: Mutex::new(endpoints), expected: Mutex::default() });
    let gitlab = tokio::spawn(rest::serve(Arc::clone(&fleet), Arc::clone(&post), listener));
    tokio::spawn(kubernetes::serve(Arc::clone(&fleet), cluster));
    tokio::spawn(prometheus::serve(Arc::clone(&fleet), metrics));
    tokio::spawn(Arc::clone(&fleet).drive());
    post.serve_storages(&fleet).await?;
    announce(&post.endpoints());

    let watch = async {
        let Some(idle) = idle else { return std::future::pending().await };
        loop {
            tokio::time::sleep((idle / 4).min(Duration::from_secs(1))).await;
            if fleet.idle() < idle {
                continue;
            }
            // Nobody finds it any more; who found it just before is still served.
            drop(fs::remove_file(dir.join(ENDPOINT)));
            tokio::time::sleep(Duration::from_millis(300)).await;
            if fleet.idle() >= idle {
                return;
            }
            drop(post.publish());
        }
    };
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(|e| failed("signals", e))?;
    tokio::select! {
        () = watch => {}
        () = fleet.stop.cancelled() => {}
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    drop(fs::remove_file(dir.join(ENDPOINT)));
    fleet.stop.cancel();
    drop(tokio::time::timeout(Duration::from_secs(2), gitlab).await);
    drop(held);
    Ok(())
}

/// Stops a running fleet and deletes its world.
pub(super) fn reset(dir: &Utf8Path) -> Result<(), SandboxError> {
    if !dir.exists() {
        return Ok(());
    }
    let begun = Instant::now();
    while served(dir)? {
        if let Some(endpoints) = endpoints(dir)? {
            drop(ask(&endpoints, "POST", "/-/sandbox/stop", b""));
        }
        if begun.elapsed() > Duration::from_secs(10) {
            let pid = endpoints(dir)?.map_or_else(|| "unknown".to_owned(), |e| e.pid.to_string());
            return Err(SandboxError {
                message: format!("the sandbox of {dir} does not end (process {pid})"),
                help: Some(format!("End it and try again: kill {pid}")),
            });
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    let held = lock_file(dir)?;
    if held.try_lock().is_err() {
        return Err(failed(dir, "somebody has started the sandbox again; try once more"));
    }
    // Only what a sandbox makes: never a folder that was named by mistake.
    if dir.join(STORAGES).exists() {
        fs::remove_dir_all(dir.join(STORAGES)).map_err(|e| failed("the sandbox's storages", e))?;
    }
    for name in [SNAPSHOT, LOG, SPEC, ENDPOINT, OUTPUT, LOCK] {
        let file = dir.join(name);
        if file.exists() {
            fs::remove_file(&file).map_err(|e| failed("the sandbox's folder", e))?;
        }
    }
    drop(fs::remove_dir(dir));
    Ok(())
}
