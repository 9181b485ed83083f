//! What the configuration says: the evaluated target, with addresses and spans, and no expression but `where`
//! and policies' conditions, which `plan` evaluates.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Address, Bytes, ClusterSettings, Concurrency, Freeze, Gate, Hook, PodSpec, PrometheusConnection, SourceFsck,
    StorageName, Weight, Window,
};
use crate::diag::{Diagnostic, Span};
use crate::expr::{Expression, Predicate};

/// The whole evaluated configuration.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// The name that state, reports and evidence carry.
    pub environment: String,
    /// SHA-256 in hex over the configuration's texts and variable values: what a saved plan is bound to.
    pub digest: String,
    /// How the live systems are reached.
    pub connection: Connection,
    /// The cluster that pod storages live in.
    pub cluster: Option<ClusterSettings>,
    /// GitLab learns of a pod storage by itself when that is ready (the embedded fleet's, unless `gitlab_knows` is
    /// `"manual"`). Otherwise a person declares it there, and a plan stops before weights and moves until it is.
    pub gitlab_learns: bool,
    /// Moves outstanding at once over all storages (`gitlab.max_moves`, or the sandbox's `workers`); at least 1.
    pub max_moves: u32,
    /// All storages, VM and pod, by GitLab's name.
    pub storages: BTreeMap<StorageName, DesiredStorage>,
    /// In the order of their addresses.
    pub assignments: Vec<Assignment>,
    /// How moves are released.
    pub rollout: Rollout,
    /// Where gates ask; `None`: nowhere, or on the sandbox its own.
    pub prometheus: Option<PrometheusConnection>,
    /// By address, whether something names them or not.
    pub gates: BTreeMap<Address, Gate>,
    /// By label.
    pub hooks: BTreeMap<String, Hook>,
    /// By label.
    pub windows: BTreeMap<String, Window>,
    /// Read-only time that users may be made to bear.
    pub freeze: Freeze,
    /// How many moves run at once, and what stops them.
    pub concurrency: Concurrency,
    /// Whether sources are checked to be whole.
    pub source_fsck: SourceFsck,
    /// Rules over the finished plan, in the order of their addresses.
    pub policies: Vec<Policy>,
    /// Addresses that became others, in the order of the former ones; each leads to where it is now.
    pub moved: Vec<Moved>,
    /// Legal parts of the configuration whose effect this version cannot bring about: errors of a plan, not of `validate`.
    pub later: Vec<Diagnostic>,
}

impl Desired {
    /// The gates that something waits for or is steered by: the rollout's, its waves' and concurrency's.
    pub fn gates_named(&self) -> BTreeSet<&Address> {
        let of_waves = self.rollout.waves.iter().filter_map(|wave| wave.gates.as_ref()).flatten();
        self.rollout.gates.iter().chain(of_waves).chain(&self.concurrency.signals).collect()
    }
}

/// How the live systems are reached.
#[derive(Debug, Clone, Default)]
pub enum Connection {
    /// A real GitLab and its Gitalys.
    Live(LiveConnection),
    /// The embedded fleet.
    Sandbox(SandboxConnection),
    /// Neither a `gitlab` nor a `sandbox` block: enough for `validate`, an error for `plan`.
    #[default]
    None,
}

/// A real GitLab and its Gitalys.
#[derive(Debug, Clone)]
pub struct LiveConnection {
    /// The `gitlab` block.
    pub gitlab: GitlabConnection,
    /// The token of all Gitalys, unless a storage has its own.
    pub gitaly_token: Option<SecretRef>,
    /// A PEM file with the CA of all `tls://` Gitalys, unless a storage has its own.
    pub gitaly_ca: Option<String>,
}

/// The `gitlab` block.
#[derive(Debug, Clone)]
pub struct GitlabConnection {
    /// Like `https://gitlab.example.com`, without `/api/v4`.
    pub url: String,
    /// An administrator's token.
    pub token: SecretRef,
    /// A PEM file with a private CA.
    pub ca: Option<String>,
    /// Where the block stands.
    pub span: Span,
}

/// Where a secret is found. Never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; surrounding white space is trimmed.
    File(String),
    /// A key of a Kubernetes Secret.
    Kubernetes {
        /// The Secret's name.
        secret: String,
        /// The key within it.
        key: String,
    },
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Kubernetes { secret, key } => write!(f, "key {key} of Secret {secret}"),
        }
    }
}

/// The `sandbox` block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxConnection {
    /// The block's label.
    pub name: String,
    /// How many projects the world begins with.
    pub repositories: u32,
    /// How many snippets with a repository the world begins with; beside them one in eight has none.
    pub snippets: u32,
    /// How many groups with a wiki repository the world begins with; beside them one in four has none.
    pub group_wikis: u32,
    /// How many fork networks of up to four projects share an object pool.
    pub fork_networks: u32,
    /// Up to this many repositories are real bare Git repositories; above, the world is synthetic. Default 200.
    pub real_limit: u32,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Seconds of the fleet's clock per second; at least 1.
    pub speed: u32,
    /// GitLab's move workers; at least 1.
    pub workers: u32,
    /// What `/metadata` says.
    pub gitlab_version: String,
    /// What ServerInfo says.
    pub gitaly_version: String,
    /// Storages that exist before tranship comes, by GitLab's name. All `storage` blocks of the configuration that
    /// are not among them are added by config with `declared_only = true`.
    pub storages: Vec<SandboxStorage>,
    /// What it makes of pod storages.
    pub pods: SandboxPods,
    /// Faults ordered.
    pub faults: Vec<SandboxFault>,
}

/// What the sandbox makes of pod storages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxPods {
    /// Its GitLab learns of one as soon as that is ready; else when `tranship sandbox know` tells it.
    pub gitlab_learns: bool,
    /// Seconds of the fleet's clock from a pod's volumes being mounted to its being ready.
    pub start_seconds: u32,
}

impl Default for SandboxPods {
    fn default() -> Self {
        Self { gitlab_learns: true, start_seconds: 20 }
    }
}

/// A storage of the sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxStorage {
    /// GitLab's name.
    pub name: StorageName,
    /// Size of its disk.
    pub disk: Bytes,
    /// The weight the world begins with; `None`: 100 for the first storage, 0 for the others.
    pub weight: Option<Weight>,
}

/// A fault ordered in the sandbox: `fault "corrupt_copy" { nth = 5 }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxFault {
    /// Which fault: one of [`SandboxFault::KINDS`].
    pub kind: String,
    /// The how-manyth occasion it strikes, from 1.
    pub nth: u32,
    /// How many occasions from the nth on; default 1.
    pub count: u32,
}

impl SandboxFault {
    /// The faults by name, each with what it does.
    pub const KINDS: &'static [(&'static str, &'static str)] = &[
        ("corrupt_copy", "the nth move loses a reference and its objects on the destination, after GitLab's own check"),
        ("lose_reference", "the nth move loses a reference on the destination, but not its objects"),
        (
            "lose_object",
            "the nth move loses an object on the destination that no reference names and one needs, after GitLab's own check",
        ),
        ("fail_move", "the nth move ends `failed`, with a checksum mismatch as its message"),
        ("push_timeout", "the nth move ends `failed` because pushes are in progress"),
        ("refuse_move", "the nth POST of a move is answered 400 `is read-only`"),
        ("lost_response", "the nth POST of a move is carried out, but its connection is cut before the answer"),
        ("server_error", "the nth request to GitLab is answered 500"),
        ("server_errors", "from the nth request to GitLab on, every third is answered 500 for ten minutes"),
        ("rate_limit", "the nth request to GitLab is answered 429 with Retry-After: 1"),
        ("push_after_move", "a push lands on the destination as soon as the nth move is `replicated`"),
        ("cleanup_failed", "the nth move ends `cleanup failed`: the source's copy stays"),
        ("missing_object", "the nth project's repository lacks an object from the beginning"),
        ("fast_move", "the nth move is over before its source can be read while frozen"),
        (
            "dead_end_a",
            "the nth move finds its lease taken: `failed` without a message, the container read-only until `sandbox repair`",
        ),
        (
            "dead_end_b",
            "the nth move's worker stops: `started` for ever, read-only, still on its source, until `sandbox repair`",
        ),
        ("stuck_scheduled", "the nth move's job is lost: `scheduled` for ever, read-only, until `sandbox repair`"),
        ("worker_shortage", "from the nth move on, no worker takes a move for ten minutes"),
        (
            "workers_die",
            "when the nth move is made, all workers stop: moves under way stay `started`; none takes one for two minutes",
        ),
        (
            "gitlab_upgrade",
            "when the nth move is made, GitLab begins to answer as the next version, and its workers restart as above",
        ),
        ("stays_replicated", "the nth move's worker stops after the switch: `replicated` for ever, both copies stay"),
        ("failed_after_switch", "the nth move ends `failed`, and lives on the destination; the source's copy stays"),
        ("foreign_move", "just before the nth POST of a move, somebody else moves the same container elsewhere"),
        ("gitaly_down", "when the nth move is made, its destination's Gitaly is UNAVAILABLE for two minutes"),
        (
            "disk_fills",
            "when the nth move is made, something else fills its destination's disk to 88 %, for count minutes",
        ),
        (
            "metrics_errors",
            "when the nth move is made, five requests a second begin to fail on its destination, for count minutes",
        ),
        ("metrics_gap", "when the nth move is made, Prometheus loses its destination from sight, for count minutes"),
        ("metrics_away", "when the nth move is made, Prometheus answers 503 for count minutes"),
        ("pool_stays", "the nth object pool whose last member left is never deleted"),
        (
            "poisoned_project",
            "the nth project is broken: whatever shows it, pages of lists too, is answered 500 for good",
        ),
        ("pending_delete", "the nth project waits for its deletion: not found by its id, in lists only if asked for"),
        ("hidden", "the nth project is hidden: not found by its id, in lists only if asked for"),
        ("path_elsewhere", "the nth project's repositories lie where its id does not say"),
        ("projects_limit", "the nth request for projects or groups is answered 429 as by the endpoint: no Retry-After"),
        ("request_budget", "more than nth requests within count seconds are answered 429, as by GitLab's middleware"),
        ("pod_pending", "the nth pod finds no node: Insufficient memory, until it is deleted"),
        ("image_pull", "the nth pod's image cannot be pulled, until the pod is deleted"),
        ("pod_crash", "the nth pod's Gitaly ends as soon as it starts, until the pod is deleted"),
        ("cordoned", "a node is cordoned just before the nth pod is put there"),
        ("node_gone", "the node of the nth pod to become ready is lost, and the pod with it"),
        ("claim_lost", "the nth claim that is bound loses its volume"),
        ("empty_disk", "the nth pod that comes back to its disk finds another one, empty"),
        (
            "rbac_forbidden",
            "the nth request that changes something in the cluster is answered 403: the right is lacking",
        ),
        ("api_away", "the connection of the nth request to the cluster is cut before the request is read"),
    ];
}

/// A Gitaly's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// `host:port`; for [`Scheme::Unix`] the path.
    pub authority: String,
}

/// How a Gitaly is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// `tcp://`: plaintext.
    Tcp,
    /// `tls://`.
    Tls,
    /// `unix:`.
    Unix,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Tcp => write!(f, "tcp://{}", self.authority),
            Scheme::Tls => write!(f, "tls://{}", self.authority),
            Scheme::Unix => write!(f, "unix:{}", self.authority),
        }
    }
}

/// One `storage` block, or one instance of it.
#[derive(Debug, Clone)]
pub struct DesiredStorage {
    /// Where it is declared.
    pub address: Address,
    /// GitLab's name.
    pub name: StorageName,
    /// As GitLab dials it; `None` on the sandbox.
    pub endpoint: Option<Endpoint>,
    /// As tranship dials it, where that differs.
    pub dial: Option<Endpoint>,
    /// What its pod is made of; `None`: a VM storage, observed only.
    pub pod: Option<Arc<PodSpec>>,
    /// The zone of its pod.
    pub zone: Option<String>,
    /// An `import` block names it: objects that exist already are taken over.
    pub adopt: bool,
    /// Its own token.
    pub token: Option<SecretRef>,
    /// Its own CA, a PEM file.
    pub ca: Option<String>,
    /// `None`: not managed.
    pub weight: Option<Weight>,
    /// Weight 0, nothing left, found empty twice.
    pub drain: bool,
    /// Prometheus labels of its server, by name: what `target.selector` stands for.
    pub metrics: BTreeMap<String, String>,
    /// What moves may do to it.
    pub limits: Limits,
    /// Its `name`, or the block where that is left out.
    pub name_span: Span,
    /// The block.
    pub span: Span,
}

/// What moves may do to a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// No move may take the disk above this, in thousandths of its size. Default 850.
    pub disk_ceiling_permille: u16,
    /// Moves in flight towards or from it; at least 1. Default 4: GitLab's worker, the source's reads and the
    /// destination's writes share one disk each, and p99 freezes grow with every slot past saturation.
    pub max_moves: u32,
    /// Bytes per second that it gives to copies, each way; `None`: not known.
    pub bandwidth: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { disk_ceiling_permille: 850, max_moves: 4, bandwidth: None }
    }
}

/// One `assignment` block, or one instance of it.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Where it is declared.
    pub address: Address,
    /// Storages it takes repositories from, each once, sorted.
    pub from: Vec<StorageName>,
    /// Which of them.
    pub filter: Predicate,
    /// Storages it sends them to, each once, sorted; at least one.
    pub to: Vec<StorageName>,
    /// Higher wins.
    pub priority: i64,
    /// The block.
    pub span: Span,
}

/// The one `rollout` block.
#[derive(Debug, Clone, Default)]
pub struct Rollout {
    /// In order; what none selects forms a last wave.
    pub waves: Vec<Wave>,
    /// `true` for `backup = "none"`: the operator knows that there is none. Silences the plan's danger line.
    pub backup_declined: bool,
    /// The hook that makes a backup before each wave, by label.
    pub backup: Option<String>,
    /// A project, by its full path, that moves to each new destination and back before anything else.
    pub probe: Option<String>,
    /// Per cent of new repositories that the storages whose weight rises take, step by step; rising, 1 to 100.
    pub ramp: Vec<u8>,
    /// Seconds of watching after each step and each wave.
    pub soak_seconds: u64,
    /// After so many holds in a row that were passed at once, no soak any more; `None`: always.
    pub calm: Option<u32>,
    /// Gates that must hold to go on after each step and each wave.
    pub gates: Vec<Address>,
    /// Moves start only inside, unless their wave has its own; by label.
    pub window: Option<String>,
    /// When a gate after a step of the ramp fails, the weights go back to what they were before that step.
    pub rollback: bool,
}

/// One `wave` of the rollout.
#[derive(Debug, Clone)]
pub struct Wave {
    /// The block's label.
    pub name: String,
    /// Which repositories; `Predicate::always()` when left out.
    pub filter: Predicate,
    /// At most this many, drawn by a seeded hash of the id, from all sizes alike.
    pub sample: Option<u64>,
    /// It is taken in batches, the first of so many repositories; `None`: at once.
    pub batch: Option<u64>,
    /// Each batch has so many times the repositories of the one before; at least 1.
    pub growth: u32,
    /// Seconds of watching after it; `None`: the rollout's.
    pub soak_seconds: Option<u64>,
    /// What must hold to go on after it; `None`: the rollout's.
    pub gates: Option<Vec<Address>>,
    /// Its moves start only inside; `None`: the rollout's. By label.
    pub window: Option<String>,
    /// The block.
    pub span: Span,
}

/// One `moved` block: what had the one address has the other now. Without a key, all instances of the block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The address before; nothing has it any more.
    pub from: Address,
    /// The address now, also where other `moved` blocks lead on to it.
    pub to: Address,
    /// Where `from` stands.
    pub span: Span,
}

/// One `policy` block: a rule over the finished plan.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Where it is declared.
    pub address: Address,
    /// Must be true; its one free name is `plan`.
    pub condition: Expression,
    /// What to say when it is not.
    pub error_message: String,
    /// Where the condition stands, `file:line:column`, in files of the configuration.
    pub place: Option<String>,
    /// The block.
    pub span: Span,
}
