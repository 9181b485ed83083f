//! What planning costs: CPU time and peak memory for fleets of 1,000 to 1,000,000 repositories on 20 storages, the
//! ratio of doubling, and an empty plan over 10,000 declared storages. Prints figures and targets; judges nothing.
//!
//! Sizes are drawn from the *standard* generator of the facts: 99.7 % log-normal (median 0.25 MB, sigma 2.4) and
//! 0.3 % Pareto (x_m 200 MB, alpha 0.9, cap 150 GB). Each case runs in a process of its own, so that one's peak
//! memory is not another's: `cargo bench --bench plan`, or `… -- repositories 100000` for one case.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::BTreeMap;
use std::error::Error;
use std::process::Command;

use tranship::config::{self, VariableInputs};
use tranship::diag::{SourceId, Span};
use tranship::expr::{Field, FieldValue, Predicate, Row, Truth};
use tranship::model::{
    Address, Assignment, Bytes, Container, ContainerKind, Desired, DesiredStorage, DiskSpace, GitlabFacts, Limits,
    ListFacts, Observed, Reading, Repository, ServerFacts, StorageFacts, StorageName, TokenFacts, Wave, Weight,
};
use tranship::plan::{Options, make};
use tranship::state::State;
use tranship::state::inventory::{self, Origin};

type Outcome<T> = Result<T, Box<dyn Error>>;

const SPAN: Span = Span { source: SourceId(0), start: 0, end: 0 };

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["repositories", number] => repositories(number.parse()?),
        ["storages", number] => storages(number.parse()?),
        ["inventory", number] => inventory(number.parse()?),
        ["where", number] => selection(number.parse()?),
        _ => all(),
    }
}

/// Runs every case in a process of its own and prints a table.
fn all() -> Outcome<()> {
    println!("plan: sizes from the standard generator, 10 storages drained into 10, all repositories move");
    println!("{:>14} {:>10} {:>12} {:>12} {:>8}", "repositories", "CPU s", "peak MiB", "input MiB", "doubling");
    let mut before: Option<Figures> = None;
    let mut number = 1_000u64;
    while number <= 1_000_000 {
        let figures = Figures::of("repositories", number)?;
        let doubling = before.map(|b| figures.cpu / b.cpu.max(f64::EPSILON));
        let doubling = doubling.map_or(String::new(), |ratio| format!("x {ratio:.2}"));
        println!("{number:>14} {:>10.3} {:>12.0} {:>12.0} {doubling:>8}", figures.cpu, figures.peak, figures.input);
        before = Some(figures);
        number = if number == 512_000 { 1_000_000 } else { number * 2 };
    }
    let today = Figures::of("repositories", 100_000)?;
    println!("100,000 repositories: {:.2} s CPU, {:.0} MiB (target: 3 s, 256 MiB)", today.cpu, today.peak);
    println!(
        "1,000,000 repositories: target 10 s, 512 MiB; doubling: target at most x 2.3 (the last row is x 1.95 in size)"
    );
    let read = Figures::of("inventory", 1_000_000)?;
    println!("an inventory of 1,000,000 read: {:.2} s CPU, {:.0} MiB (target: about 1 s)", read.cpu, read.peak);
    let selected = Figures::of("where", 1_000_000)?;
    println!("a `where` of five terms over 1,000,000: {:.2} s CPU (target: 1.5 s)", selected.cpu);
    let empty = Figures::of("storages", 10_000)?;
    println!(
        "10,000 declared storages, nothing to do: {:.3} s CPU, {:.0} MiB (target: 0.5 s, 150 MB)",
        empty.cpu, empty.peak
    );
    Ok(())
}

/// What one case cost.
#[derive(Clone, Copy)]
struct Figures {
    /// Seconds of CPU, planning alone.
    cpu: f64,
    /// MiB resident at most, input and plan together.
    peak: f64,
    /// MiB resident before planning.
    input: f64,
}

impl Figures {
    /// The run with the median CPU of five: machines are shared, and one disturbed run would spoil two ratios.
    fn of(case: &str, number: u64) -> Outcome<Self> {
        let mut runs = (0..5).map(|_| Self::once(case, number)).collect::<Outcome<Vec<_>>>()?;
        runs.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
        runs.get(runs.len() / 2).copied().ok_or_else(|| "no run".into())
    }

    fn once(case: &str, number: u64) -> Outcome<Self> {
        let output = Command::new(std::env::current_exe()?).args([case, &number.to_string()]).output()?;
        let text = String::from_utf8(output.stdout)?;
        let field = |name: &str| -> Outcome<f64> {
            let mut words = text.split_whitespace();
            words.find(|word| *word == name).ok_or_else(|| format!("{case} {number}: no {name} in {text:?}"))?;
            Ok(words.next().unwrap_or_default().parse()?)
        };
        Ok(Self { cpu: field("cpu")?, peak: field("peak")?, input: field("input")? })
    }
}

fn repositories(number: u64) -> Outcome<()> {
    let (desired, observed) = migration(number)?;
    measure(&desired, &observed, usize::try_from(number)?)
}

/// What reading an inventory costs; making and writing it is not counted.
fn inventory(number: u64) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let file = camino::Utf8PathBuf::try_from(folder.path().join("bench.jsonl"))?;
    if std::env::var_os("TRANSHIP_BENCH_FILE").is_none() {
        let (_, observed) = migration(number)?;
        let now = observed.as_of;
        let origin = Origin { gitlab: "bench".to_owned(), environment: "bench".to_owned(), began: now, ended: now };
        let lists = observed.storages.keys().map(|name| (name.clone(), ListFacts::default())).collect();
        inventory::write(&file, &origin, &lists, &observed.repositories)?;
        // In a process of its own, so that what made it does not count.
        let text = Command::new(std::env::current_exe()?)
            .args(["inventory", &number.to_string()])
            .env("TRANSHIP_BENCH_FILE", &file)
            .output()?;
        print!("{}", String::from_utf8(text.stdout)?);
        return Ok(());
    }
    let file = camino::Utf8PathBuf::from(std::env::var("TRANSHIP_BENCH_FILE")?);
    let (input, before) = (memory("VmRSS")?, cpu()?);
    let read = inventory::read(&file)?;
    let seconds = cpu()? - before;
    if read.repositories.len() as u64 != number {
        return Err(format!("{} read", read.repositories.len()).into());
    }
    println!("cpu {seconds:.4} peak {:.1} input {input:.1}", memory("VmHWM")?);
    Ok(())
}

/// A `where` as operators write them: sizes, the beginning of a path, a regular expression.
const WHERE: &str = r#"
sandbox "bench" {
  repositories = 1
  storage "vm" {}
  storage "pod" {}
}
storage "vm" {
  drain = true
}
storage "pod" {
  weight = 100
}
assignment "some" {
  from  = [storage.vm]
  to    = [storage.pod]
  where = ((repository.size > 100 * MiB || startswith(repository.path, "group-1"))
    && !repository.archived && repository.kind == "project"
    && !can(regex("^group-[0-9]*7/", repository.path)))
}
"#;

struct Listed<'a>(&'a Repository);

impl Row for Listed<'_> {
    fn field(&self, field: Field) -> FieldValue<'_> {
        match field {
            Field::Kind => FieldValue::Text(self.0.container.kind.as_str()),
            Field::Path => FieldValue::Text(&self.0.path),
            Field::Size => self.0.size.map_or(FieldValue::Unknown, |size| FieldValue::Integer(size.0)),
            Field::Archived => self.0.archived.map_or(FieldValue::Unknown, FieldValue::Bool),
            _ => FieldValue::Unknown,
        }
    }
}

/// What asking a `where` of every repository costs.
fn selection(number: u64) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("main.hcl"), WHERE)?;
    let folder = camino::Utf8PathBuf::try_from(folder.path().to_owned())?;
    let loaded = config::load(&folder, &VariableInputs::default());
    let desired = loaded.desired.ok_or_else(|| format!("{:?}", loaded.diagnostics.items))?;
    let filter = &desired.assignments.first().ok_or("no assignment")?.filter;
    let (_, observed) = migration(number)?;
    let (input, before) = (memory("VmRSS")?, cpu()?);
    let (mut yes, mut no) = (0u64, 0u64);
    for repository in &observed.repositories {
        match filter.test(&Listed(repository)).map_err(|fault| format!("{fault:?}"))? {
            Truth::True => yes += 1,
            Truth::False => no += 1,
            Truth::Unknown => return Err("nothing here is unknown".into()),
        }
    }
    let seconds = cpu()? - before;
    if yes == 0 || no == 0 {
        return Err(format!("{yes} yes, {no} no").into());
    }
    println!("cpu {seconds:.4} peak {:.1} input {input:.1}", memory("VmHWM")?);
    Ok(())
}

fn storages(number: u64) -> Outcome<()> {
    let names = names("gitaly", number)?;
    let (desired, observed) = fleet(&names, &[])?;
    measure(&desired, &observed, 0)
}

fn measure(desired: &Desired, observed: &Observed, moves: usize) -> Outcome<()> {
    let state = State::new("bench");
    let input = memory("VmRSS")?;
    let run = || make(desired, observed, &state, &Options::default()).map_err(|d| format!("{:?}", d.items.first()));
    // Small cases are repeated: the scheduler counts CPU time in steps of milliseconds.
    let times = (200_000 / moves.max(500)).max(1);
    // The first run pays for the memory's first touch; spread over few or many runs it would bend the ratios.
    drop(run()?);
    let before = cpu()?;
    for _ in 1..times {
        drop(run()?);
    }
    let plan = run()?;
    let seconds = (cpu()? - before) / f64::from(u32::try_from(times)?);
    if plan.moves.len() != moves || plan.is_empty() != (moves == 0) {
        return Err(format!("{} moves planned, {moves} expected; {:?}", plan.moves.len(), plan.report).into());
    }
    println!("cpu {seconds:.4} peak {:.1} input {input:.1}", memory("VmHWM")?);
    Ok(())
}

/// CPU seconds of this process so far.
fn cpu() -> Outcome<f64> {
    // The scheduler's own count, in nanoseconds: the first field.
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds: f64 = text.split_whitespace().next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}

/// A figure of `/proc/self/status` in MiB.
fn memory(field: &str) -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with(field)).ok_or("no such field")?;
    let kib: f64 = line.split_whitespace().nth(1).unwrap_or_default().parse()?;
    Ok(kib / 1024.0)
}

fn names(prefix: &str, number: u64) -> Outcome<Vec<StorageName>> {
    Ok((0..number).map(|n| StorageName::new(format!("{prefix}-{n:05}"))).collect::<Result<_, _>>()?)
}

/// Ten storages drained into ten, with a sample first.
fn migration(number: u64) -> Outcome<(Desired, Observed)> {
    let (sources, targets) = (names("vm", 10)?, names("pod", 10)?);
    let (mut desired, mut observed) = fleet(&targets, &sources)?;
    desired.assignments.push(Assignment {
        address: Address::new("assignment", "everything"),
        from: sources.clone(),
        filter: Predicate::always(),
        to: targets,
        priority: 0,
        span: SPAN,
    });
    desired.rollout.waves = vec![Wave {
        name: "sample".to_owned(),
        filter: Predicate::always(),
        sample: Some(300),
        batch: None,
        growth: 3,
        soak_seconds: None,
        gates: None,
        window: None,
        span: SPAN,
    }];
    let mut random = Random(7);
    observed.repositories = Vec::with_capacity(usize::try_from(number)?);
    for (id, storage) in (1..=number).zip(sources.iter().cycle()) {
        observed.repositories.push(Repository {
            container: Container { kind: ContainerKind::Project, id },
            path: format!("group-{}/project-{id}", id % 977).into(),
            storage: storage.clone(),
            size: Some(Bytes(random.size())),
            archived: Some(id % 9 == 0),
            empty: Some(false),
            fork_parent: (id % 50 == 0).then_some(id / 2),
            parent_storage: None,
            last_activity: Some(1_700_000_000),
            created: Some(1_600_000_000),
        });
    }
    Ok((desired, observed))
}

/// Storages that are as they should be, and others that drain.
fn fleet(kept: &[StorageName], draining: &[StorageName]) -> Outcome<(Desired, Observed)> {
    let mut observed = Observed {
        as_of: jiff::Timestamp::from_second(1_767_600_000)?,
        gitlab: GitlabFacts {
            version: "18.2.0-ee".to_owned(),
            enterprise: Some(true),
            token: Reading::Known(TokenFacts { scopes: vec!["api".to_owned()], expires_at: None }),
            weights: BTreeMap::new(),
        },
        storages: BTreeMap::new(),
        repositories: Vec::new(),
        lists: BTreeMap::new(),
        pools: BTreeMap::new(),
        listed: None,
        cluster: None,
        moves: Vec::new(),
        gates: Default::default(),
        probe: None,
    };
    let mut storages = BTreeMap::new();
    for (name, drain) in kept.iter().map(|n| (n, false)).chain(draining.iter().map(|n| (n, true))) {
        let weight = Weight::new(100)?;
        storages.insert(
            name.clone(),
            DesiredStorage {
                address: Address::new("storage", name.as_str()),
                name: name.clone(),
                endpoint: None,
                dial: None,
                pod: None,
                zone: None,
                adopt: false,
                token: None,
                ca: None,
                weight: (!drain).then_some(weight),
                drain,
                metrics: BTreeMap::new(),
                limits: Limits::default(),
                span: SPAN,
                name_span: SPAN,
            },
        );
        observed.gitlab.weights.insert(name.clone(), weight);
        observed.lists.insert(name.clone(), ListFacts::default());
        observed.storages.insert(name.clone(), facts(name));
    }
    let desired = Desired {
        environment: "bench".to_owned(),
        digest: "bench".to_owned(),
        max_moves: 64,
        storages,
        ..Desired::default()
    };
    Ok((desired, observed))
}

fn facts(name: &StorageName) -> StorageFacts {
    StorageFacts {
        server: Reading::Known(ServerFacts {
            version: "18.2.0".to_owned(),
            git_version: "2.50.1".to_owned(),
            readable: true,
            writeable: true,
            filesystem_id: format!("fs-{name}"),
            replication_factor: 1,
        }),
        disk: Reading::Known(DiskSpace { available: Bytes(1 << 50), used: Bytes(1 << 40) }),
        walk: None,
    }
}

/// SplitMix64: small, seeded, good enough to draw sizes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Above 0, at most 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Bytes, from the standard generator.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "capped and positive")]
    fn size(&mut self) -> u64 {
        let bytes = if self.unit() < 0.003 {
            (200e6 * self.unit().powf(-1.0 / 0.9)).min(150e9)
        } else {
            let normal = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
            0.25e6 * (2.4 * normal).exp()
        };
        bytes.min(150e9) as u64
    }
}
