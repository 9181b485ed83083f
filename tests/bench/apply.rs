//! What the mover does: verified moves a second, requests of GitLab a move, and peak memory, with copies of 20 ms and 64
//! slots, over in-memory ports and over sockets; and how long an interrupted run takes to be taken up. Prints figures and
//! targets; judges nothing.
//!
//! The fleet is the embedded one with synthetic repositories, its clock at 200 times ours: a move of 4 s takes 20 ms, the
//! lists of moves are read every 10 ms. Each case runs in a process of its own: `cargo bench --bench apply`, or
//! `… -- memory 50000` for one. `TRANSHIP_BENCH_MOVES` (50,000) sets the number, `TRANSHIP_BENCH_SOCKET_MOVES` (10,000)
//! that over sockets.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::BTreeMap;
use std::error::Error;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tranship::apply::counted::{Counted, Counts};
use tranship::apply::event::Event;
use tranship::apply::port::{Clock, Ports};
use tranship::apply::{self, Context, RunResult};
use tranship::diag::{SourceId, Span};
use tranship::expr::Predicate;
use tranship::live::{self, GitalyTarget, Request, ScaledClock, Target};
use tranship::model::{
    Address, Assignment, Bytes, Connection, Desired, DesiredStorage, Endpoint, Limits, Rollout, SandboxConnection,
    SandboxStorage, Scheme, StorageName, Weight,
};
use tranship::plan::{self, Options, Plan};
use tranship::sandbox::memory::{Handle, MemoryFleet};
use tranship::sandbox::{self, Endpoints};
use tranship::state::State;
use tranship::state::store::{StateError, Store};

type Outcome<T> = Result<T, Box<dyn Error>>;

const SPAN: Span = Span { source: SourceId(0), start: 0, end: 0 };
/// Seconds of the fleet's clock a second: its moves of 4 s take 20 ms.
const SPEED: u32 = 200;
const SLOTS: u32 = 64;

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["memory", number] => run(memory(number.parse()?)),
        ["sockets", number] => run(sockets(number.parse()?)),
        ["resume", number] => run(resume(number.parse()?)),
        _ => all(),
    }
}

fn run(case: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(case)
}

fn all() -> Outcome<()> {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let moves = number("TRANSHIP_BENCH_MOVES", 50_000);
    let over_sockets = number("TRANSHIP_BENCH_SOCKET_MOVES", 10_000);
    println!("apply: copies of 20 ms, {SLOTS} slots");
    println!("over in-memory ports: target 1,000 moves/s, 4 requests a move, memory that grows by the plan only");
    case("memory", moves)?;
    case("memory", moves * 2)?;
    println!("over sockets: target 300 moves/s, 4 requests a move");
    case("sockets", over_sockets)?;
    println!("an interrupted run taken up: target 5 s, 3 + 1.2 list requests per 100 repositories in doubt");
    case("resume", moves * 2)
}

fn case(name: &str, number: u64) -> Outcome<()> {
    let output = Command::new(std::env::current_exe()?).args([name, &number.to_string()]).output()?;
    print!("{}", String::from_utf8(output.stdout)?);
    if !output.status.success() {
        return Err(format!("{name} {number}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(())
}

// ---- cases ----

async fn memory(number: u64) -> Outcome<()> {
    let (fleet, ports) = in_memory(number)?;
    let bench = Bench::new(ports)?;
    let plan = bench.plan(number).await?;
    let (input, planning) = (resident("VmRSS")?, bench.counts.by_call());
    let began = Instant::now();
    let result = bench.run(&plan, CancellationToken::new()).await;
    bench.report("memory", number, began.elapsed(), &result, (input, &planning))?;
    drop(fleet);
    Ok(())
}

async fn sockets(number: u64) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let dir = Utf8PathBuf::try_from(folder.path().join("fleet"))?;
    let exe = std::path::Path::new(env!("CARGO_BIN_EXE_tranship"));
    let endpoints = sandbox::ensure(&dir, exe, &spec(number)?).await.map_err(|e| e.message)?;
    let bench = Bench::new(live::connect(&target(&endpoints))?)?;
    let plan = bench.plan(number).await?;
    let (input, planning) = (resident("VmRSS")?, bench.counts.by_call());
    let began = Instant::now();
    let result = bench.run(&plan, CancellationToken::new()).await;
    let shown = bench.report("sockets", number, began.elapsed(), &result, (input, &planning));
    let _ = Command::new("kill").arg(endpoints.pid.to_string()).status();
    shown
}

/// A run is dropped in the middle, as if its process had died; then it is taken up.
async fn resume(number: u64) -> Outcome<()> {
    let (fleet, ports) = in_memory(number)?;
    let bench = Bench::new(ports)?;
    let plan = bench.plan(number).await?;
    let half = async {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if *bench.verified.lock().map_err(|e| e.to_string())? >= number / 2 {
                return Ok::<_, String>(());
            }
        }
    };
    tokio::select! {
        _ = bench.run(&plan, CancellationToken::new()) => return Err("it ended before it was cut short".into()),
        half = half => half?,
    }
    let before = bench.counts.by_call();
    let began = Instant::now();
    let context = bench.context(bench.runs.clone(), CancellationToken::new());
    let state = bench.store.0.lock().map_err(|e| e.to_string())?.clone().unwrap_or_else(|| State::new("bench"));
    let in_doubt: u64 = apply::unfinished(&bench.runs)?.iter().map(|run| run.in_doubt).sum();
    let read = began.elapsed();
    let result = apply::recover(state, context).await;
    let took = began.elapsed();
    if let Some(fatal) = result.fatal {
        return Err(fatal.into());
    }
    let after = bench.counts.by_call();
    let more = |call: &str| after.get(call).unwrap_or(&0) - before.get(call).unwrap_or(&0);
    println!(
        "resume  {number:>7} moves, half done: {:.2} s ({:.2} s of it reading the journal twice over), {in_doubt} in doubt, \
         {} list requests, {} others",
        took.as_secs_f64(),
        read.as_secs_f64(),
        more("moves") + more("list"),
        after.values().sum::<u64>() - before.values().sum::<u64>() - more("moves") - more("list"),
    );
    drop(fleet);
    Ok(())
}

// ---- the run ----

#[derive(Default)]
struct MemoryStore(Mutex<Option<State>>);

impl Store for MemoryStore {
    fn save(&self, state: &State) -> Result<(), StateError> {
        if let Ok(mut kept) = self.0.lock() {
            *kept = Some(state.clone());
        }
        Ok(())
    }
}

struct Bench {
    ports: Ports,
    counts: Counts,
    store: Arc<MemoryStore>,
    runs: Utf8PathBuf,
    verified: Arc<Mutex<u64>>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(mut ports: Ports) -> Outcome<Self> {
        let (gitlab, counts) = Counted::new(Arc::clone(&ports.gitlab));
        ports.gitlab = gitlab;
        // On a real disk: the journal is synced as it is in production.
        let folder = tempfile::Builder::new().prefix("tranship-bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let runs = Utf8PathBuf::try_from(folder.path().join("runs"))?;
        Ok(Self { ports, counts, store: Arc::default(), runs, verified: Arc::default(), _folder: folder })
    }

    async fn plan(&self, number: u64) -> Outcome<Plan> {
        let desired = desired()?;
        let source = vec![StorageName::new("old")?];
        let request = Request {
            declared: desired.storages.keys().cloned().collect(),
            listed: source.clone(),
            draining: source,
            pods: plan::pods::wanted(&desired),
            probe: None,
        };
        let observed = live::observe(&self.ports, &request).await.map_err(|e| format!("{e:?}"))?;
        let plan = plan::make(&desired, &observed, &State::new("bench"), &Options::default());
        let plan = plan.map_err(|d| format!("{:?}", d.items.first()))?;
        if plan.moves.len() as u64 != number {
            return Err(format!("{} moves planned of {number}: {:?}", plan.moves.len(), plan.report).into());
        }
        Ok(plan)
    }

    fn context(&self, folder: Utf8PathBuf, stop: CancellationToken) -> Context {
        let (events, mut incoming) = tokio::sync::mpsc::unbounded_channel();
        let verified = Arc::clone(&self.verified);
        tokio::spawn(async move {
            while let Some(event) = incoming.recv().await {
                if matches!(event, Event::MoveVerified { .. })
                    && let Ok(mut verified) = verified.lock()
                {
                    *verified += 1;
                }
            }
        });
        Context {
            ports: self.ports.clone(),
            store: self.store.clone(),
            folder,
            events,
            stop,
            max_wait: None,
            seen: Default::default(),
            hooks: Vec::new(),
        }
    }

    async fn run(&self, plan: &Plan, stop: CancellationToken) -> RunResult {
        apply::run(plan, State::new("bench"), self.context(self.runs.join("0001"), stop)).await
    }

    fn report(
        &self,
        name: &str,
        number: u64,
        took: Duration,
        result: &RunResult,
        (input, planning): (f64, &BTreeMap<&'static str, u64>),
    ) -> Outcome<()> {
        if let Some(fatal) = &result.fatal {
            return Err(fatal.clone().into());
        }
        let s = &result.summary;
        let verified = s.attested + s.advanced + s.bracketed;
        let counts: BTreeMap<_, _> =
            self.counts.by_call().into_iter().map(|(call, n)| (call, n - planning.get(call).unwrap_or(&0))).collect();
        let per_move: Vec<String> = ["moves_of", "list", "container", "schedule", "moves", "move_record"]
            .iter()
            .map(|call| format!("{call} {:.2}", figure(*counts.get(call).unwrap_or(&0)) / figure(verified)))
            .collect();
        println!(
            "{name:<7} {number:>7} moves: {:>6.0} verified/s ({verified} in {:.1} s; {} bracketed, {} unknown, {} set aside), \
             {:.2} requests a move ({}), peak {:.0} MiB of which {input:.0} before the run",
            figure(verified) / took.as_secs_f64(),
            took.as_secs_f64(),
            s.bracketed,
            s.unknown,
            s.quarantined,
            figure(counts.values().sum()) / figure(verified),
            per_move.join(", "),
            resident("VmHWM")?,
        );
        Ok(())
    }
}

fn figure(number: u64) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}

/// A figure of `/proc/self/status` in MiB.
fn resident(field: &str) -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with(field)).ok_or("no such field")?;
    let kib: f64 = line.split_whitespace().nth(1).unwrap_or_default().parse()?;
    Ok(kib / 1024.0)
}

// ---- the fleet ----

fn spec(number: u64) -> Outcome<SandboxConnection> {
    let storage = |name: &str| -> Outcome<SandboxStorage> {
        Ok(SandboxStorage { name: StorageName::new(name)?, disk: Bytes(1 << 50), weight: None })
    };
    Ok(SandboxConnection {
        name: "bench".into(),
        repositories: u32::try_from(number)?,
        snippets: 0,
        group_wikis: 0,
        fork_networks: 0,
        real_limit: 0,
        seed: 7,
        speed: SPEED,
        workers: SLOTS,
        gitlab_version: "18.2.0-ee".into(),
        gitaly_version: "18.2.0".into(),
        pods: Default::default(),
        storages: vec![storage("old")?, storage("new-a")?, storage("new-b")?],
        faults: Vec::new(),
    })
}

fn desired() -> Outcome<Desired> {
    let storage = |text: &str, weight: Option<u64>| -> Outcome<DesiredStorage> {
        Ok(DesiredStorage {
            address: Address::new("storage", text),
            name: StorageName::new(text)?,
            endpoint: None,
            dial: None,
            pod: None,
            zone: None,
            adopt: false,
            token: None,
            ca: None,
            weight: weight.map(Weight::new).transpose()?,
            drain: weight.is_none(),
            metrics: BTreeMap::new(),
            limits: Limits { max_moves: SLOTS, ..Limits::default() },
            span: SPAN,
            name_span: SPAN,
        })
    };
    let storages = [storage("old", None)?, storage("new-a", Some(100))?, storage("new-b", Some(100))?];
    Ok(Desired {
        environment: "bench".into(),
        digest: "0".into(),
        connection: Connection::Sandbox(spec(0)?),
        cluster: None,
        gitlab_learns: false,
        max_moves: SLOTS,
        storages: storages.into_iter().map(|s| (s.name.clone(), s)).collect(),
        assignments: vec![Assignment {
            address: Address::new("assignment", "all"),
            from: vec![StorageName::new("old")?],
            filter: Predicate::always(),
            to: vec![StorageName::new("new-a")?, StorageName::new("new-b")?],
            priority: 0,
            span: SPAN,
        }],
        rollout: Rollout { backup_declined: true, ..Rollout::default() },
        ..Desired::default()
    })
}

/// A fleet in memory whose copies take 20 ms of real time each: all repositories are small.
fn in_memory(number: u64) -> Outcome<(Handle, Ports)> {
    let (mut ports, fleet) = MemoryFleet::new(&spec(number)?);
    for mut project in fleet.projects() {
        (project.repository_size, project.wiki_size) = (100_000, 0);
        fleet.world(|world| world.put_project(project));
    }
    let clock = ScaledClock { fleet_epoch: fleet.now(), real_epoch: Timestamp::now(), speed: SPEED };
    ports.clock = Arc::new(clock);
    let driven = fleet.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let behind = clock.now().duration_since(driven.now());
            driven.advance(behind.max(SignedDuration::ZERO).unsigned_abs());
        }
    });
    Ok((fleet, ports))
}

fn target(fleet: &Endpoints) -> Target {
    let token = |text: &str| SecretString::from(text.to_owned());
    let gitaly = fleet.gitaly.iter().map(|(name, authority)| {
        let endpoint = Endpoint { scheme: Scheme::Tcp, authority: authority.clone() };
        (name.clone(), GitalyTarget { endpoint, token: Some(token(&fleet.gitaly_token)), ca: None })
    });
    let Endpoints { fleet_epoch, real_epoch, speed, .. } = fleet.clone();
    Target {
        gitlab_url: fleet.gitlab_url.clone(),
        gitlab_token: token(&fleet.gitlab_token),
        gitlab_ca: None,
        gitaly: gitaly.collect(),
        cluster: None,
        prometheus: None,
        clock: Some(ScaledClock { fleet_epoch, real_epoch, speed }),
    }
}
