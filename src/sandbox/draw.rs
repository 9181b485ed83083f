//! Seeded draws and the population of a new world: which projects there are, what shape each has, where it lives.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::world::{Group, Pool, Project, Snippet};
use crate::model::{Container, ContainerKind, RepositoryRole, SandboxConnection, StorageName, relative_path};

/// SplitMix64: tiny, seeded, the same on every machine.
#[derive(Debug, Clone)]
pub(super) struct Draw(u64);

/// A seed for what has a name.
pub(super) fn seed_of(seed: u64, name: &str) -> u64 {
    let purpose = name.bytes().fold(11, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    Draw::new(seed, purpose).next()
}

impl Draw {
    /// A stream of draws for one purpose: equal arguments give equal streams.
    pub(super) fn new(seed: u64, purpose: u64) -> Self {
        let mut draw = Self(seed ^ purpose.wrapping_mul(0xd134_2543_de82_ef95));
        draw.next();
        draw
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound - 1`; 0 for a bound of 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// A number in (0, 1].
    fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let bits = ((self.next() >> 11) + 1) as f64;
        bits / 9_007_199_254_740_992.0
    }

    /// A repository's size, heavy-tailed: 99.7 % log-normal (median 0.25 MB, σ 2.4), 0.3 % Pareto (200 MB, α 0.9, at
    /// most 150 GB).
    pub(super) fn size(&mut self) -> u64 {
        let bytes = if self.below(1000) < 3 {
            200e6 * self.unit().powf(-1.0 / 0.9)
        } else {
            let normal = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
            0.25e6 * (2.4 * normal).exp()
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let bytes = bytes.clamp(1024.0, 150e9) as u64;
        bytes
    }
}

/// What is peculiar about a project's repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Branches and tags.
    Ordinary,
    /// Nothing.
    Empty,
    /// 10,000 branches and more.
    ManyReferences,
    /// SHA-256 objects.
    Sha256,
    /// References that Gitaly's checksum does not cover.
    OddNamespaces,
    /// HEAD names a branch that does not exist.
    UnbornHead,
    /// Reference names that are not UTF-8.
    NotUtf8,
}

/// The repositories of one container of a new world.
#[derive(Debug, Clone)]
pub struct Settler {
    /// Kind and id.
    pub container: Container,
    /// What its texts call it.
    pub name: String,
    /// Where it lives.
    pub storage: StorageName,
    /// Its main repository's shape; the others are ordinary.
    pub shape: Shape,
    /// Its repositories, the main one first.
    pub plots: Vec<Plot>,
    /// Its place in an object pool; a pool's root comes before its forks.
    pub seat: Option<Seat>,
    /// Its main repository lacks an object.
    pub lacks_object: bool,
}

/// One repository of a new world.
#[derive(Debug, Clone)]
pub struct Plot {
    /// Relative path.
    pub path: String,
    /// Bytes drawn for it; a real one's are measured later.
    pub bytes: u64,
}

/// A place in an object pool.
#[derive(Debug, Clone)]
pub struct Seat {
    /// The pool's path.
    pub pool: String,
    /// Bytes drawn for the pool.
    pub bytes: u64,
    /// The main repository of the project that this one was forked from; `None` for that itself.
    pub root: Option<String>,
}

impl Settler {
    /// What its draws begin with; `times` keeps its repositories apart.
    pub(super) fn seed(&self, times: u64) -> u64 {
        let family = match self.container.kind {
            ContainerKind::Project => 0,
            ContainerKind::Snippet => 1 << 60,
            ContainerKind::GroupWiki => 2 << 60,
        };
        self.container.id.wrapping_mul(times).wrapping_add(family)
    }

    /// A project with its wiki and design repository.
    pub(super) fn project(project: &Project, shape: Shape) -> Self {
        let sizes = [project.repository_size];
        let wiki = project.wiki.then_some(project.wiki_size);
        let design = project.design.then_some(project.wiki_size);
        let bytes = sizes.into_iter().chain(wiki).chain(design);
        Self {
            container: project.container(),
            name: project.path.clone(),
            storage: project.storage.clone(),
            shape,
            plots: project.repositories().into_iter().zip(bytes).map(|(path, bytes)| Plot { path, bytes }).collect(),
            seat: None,
            lacks_object: false,
        }
    }

    /// A snippet or a group's wiki.
    pub(super) fn other(container: Container, name: String, storage: StorageName, bytes: u64) -> Self {
        let path = relative_path(container, RepositoryRole::Main);
        let (shape, plots) = (Shape::Ordinary, vec![Plot { path, bytes }]);
        Self { container, name, storage, shape, plots, seat: None, lacks_object: false }
    }
}

const GROUPS: &[&str] = &["web", "platform", "mobile", "data", "gitlab-org", "infra/tools", "docs"];
const NAMES: &[&str] = &[
    "shop",
    "gateway",
    "ledger",
    "search",
    "mailer",
    "catalog",
    "billing",
    "metrics",
    "scheduler",
    "atlas",
    "courier",
    "harbor",
    "lantern",
    "quarry",
];

/// Where something new goes: as GitLab places it, in proportion to the weights.
fn place(draw: &mut Draw, spec: &SandboxConnection, weights: &BTreeMap<StorageName, u64>) -> Option<StorageName> {
    let mut place = draw.below(weights.values().sum());
    weights
        .iter()
        .find(|(_, weight)| {
            let here = place < **weight;
            place = place.saturating_sub(**weight);
            here
        })
        .map(|(name, _)| name.clone())
        .or_else(|| spec.storages.first().map(|s| s.name.clone()))
}

/// 2024-01-01: nothing of a world depends on the day it is made.
fn epoch() -> Timestamp {
    Timestamp::from_second(1_704_067_200).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn within_a_year(draw: &mut Draw, of: Timestamp) -> Timestamp {
    of + SignedDuration::from_secs((draw.below(365 * 86_400)) as i64)
}

/// All projects of the world that `spec` describes, by ascending id from 1, each with its repository's shape. Storages
/// take new projects as GitLab does: in proportion to their weights.
pub(super) fn projects(spec: &SandboxConnection, weights: &BTreeMap<StorageName, u64>) -> Vec<(Project, Shape)> {
    let mut projects = Vec::new();
    for index in 0..u64::from(spec.repositories) {
        let mut draw = Draw::new(spec.seed, index + 1);
        let (shape, archived, wiki, design) = match index {
            1 => (Shape::Ordinary, false, true, false),
            2 => (Shape::Empty, false, false, false),
            3 => (Shape::ManyReferences, false, false, false),
            4 => (Shape::Sha256, false, false, false),
            5 => (Shape::OddNamespaces, false, false, false),
            6 => (Shape::UnbornHead, false, false, false),
            7 => (Shape::NotUtf8, false, true, false),
            8 => (Shape::Ordinary, true, false, false),
            10 => (Shape::Ordinary, false, true, true),
            0 | 9 => (Shape::Ordinary, false, false, false),
            _ => (Shape::Ordinary, draw.below(12) == 0, draw.below(5) == 0, draw.below(10) == 0),
        };
        let group = GROUPS[(draw.below(GROUPS.len() as u64)) as usize];
        let name = NAMES[(index % NAMES.len() as u64) as usize];
        let path = match index {
            9 => "R.D_2/.dot--files_v1.0".to_owned(),
            8 => format!("archive/{name}"),
            _ if index < NAMES.len() as u64 => format!("{group}/{name}"),
            _ => format!("{group}/{name}-{}", index / NAMES.len() as u64 + 1),
        };
        let Some(storage) = place(&mut draw, spec, weights) else { break };
        let created = within_a_year(&mut draw, epoch());
        let last_activity = within_a_year(&mut draw, created);
        let empty = shape == Shape::Empty;
        let fork_parent = (index > 11 && draw.below(15) == 0).then_some(1);
        let project = Project {
            archived,
            empty,
            wiki,
            design,
            repository_size: if empty { 0 } else { draw.size() },
            wiki_size: if wiki { draw.below(1 << 20) } else { 0 },
            fork_parent,
            last_activity,
            ..Project::new(index + 1, path, storage, created)
        };
        projects.push((project, shape));
    }
    projects
}

/// The first project of a fork network; those before it have peculiar shapes.
const FIRST_ROOT: u64 = 13;
/// Projects of a fork network, its root among them.
const NETWORK: u64 = 4;

/// Joins projects to fork networks that share an object pool, on their root's storage: what they have in common lies in
/// the pool. Returns the pools.
pub(super) fn fork_networks(spec: &SandboxConnection, projects: &mut [(Project, Shape)]) -> Vec<Pool> {
    let mut pools = Vec::new();
    for number in 0..u64::from(spec.fork_networks) {
        let first = usize::try_from(FIRST_ROOT - 1 + number * NETWORK).unwrap_or(usize::MAX);
        let Some((root, forks)) = projects.get_mut(first..).and_then(|all| all.split_first_mut()) else { break };
        if forks.is_empty() {
            break;
        }
        let pool = Pool { id: number + 1, storage: root.0.storage.clone(), size: root.0.repository_size };
        root.0.fork_parent = None;
        let (id, storage) = (root.0.id, root.0.storage.clone());
        for (fork, _) in forks.iter_mut().take(NETWORK as usize - 1) {
            fork.fork_parent = Some(id);
            fork.storage = storage.clone();
        }
        for (member, shape) in std::iter::once(root).chain(forks.iter_mut().take(NETWORK as usize - 1)) {
            *shape = Shape::Ordinary;
            member.pool = Some(pool.id);
            member.repository_size = (member.repository_size / 20).max(4096);
        }
        pools.push(pool);
    }
    pools
}

/// The snippets of the world: as many as asked for that have a repository, and beside them some without.
pub(super) fn snippets(spec: &SandboxConnection, weights: &BTreeMap<StorageName, u64>) -> Vec<Snippet> {
    let mut snippets = Vec::new();
    for id in with_gaps(spec.snippets, 9) {
        let mut draw = Draw::new(spec.seed, (1 << 40) + id.number);
        let project = (draw.below(3) == 0 && spec.repositories > 0).then(|| 1 + draw.below(spec.repositories.into()));
        let Some(storage) = place(&mut draw, spec, weights) else { break };
        let created = within_a_year(&mut draw, epoch());
        snippets.push(Snippet {
            id: id.number,
            title: format!("{} notes", NAMES[(draw.below(NAMES.len() as u64)) as usize]),
            project,
            storage: id.housed.then_some(storage),
            read_only: false,
            size: if id.housed { 1024 + draw.below(200_000) } else { 0 },
            created,
            updated: within_a_year(&mut draw, created),
        });
    }
    snippets
}

/// The groups of the world: as many as asked for that have a wiki, and beside them some without. Without `wikis`, none
/// has one.
pub(super) fn groups(spec: &SandboxConnection, weights: &BTreeMap<StorageName, u64>, wikis: bool) -> Vec<Group> {
    let mut groups = Vec::new();
    for id in with_gaps(spec.group_wikis, 5) {
        let mut draw = Draw::new(spec.seed, (2 << 40) + id.number);
        let name = GROUPS[((id.number - 1) % GROUPS.len() as u64) as usize];
        let round = (id.number - 1) / GROUPS.len() as u64;
        let path = if round == 0 { name.to_owned() } else { format!("{name}/team-{}", round + 1) };
        let Some(storage) = place(&mut draw, spec, weights) else { break };
        let housed = id.housed && wikis;
        groups.push(Group {
            id: id.number,
            path,
            storage: housed.then_some(storage),
            read_only: false,
            size: if housed { 1024 + draw.below(2_000_000) } else { 0 },
            created: within_a_year(&mut draw, epoch()),
        });
    }
    groups
}

struct Id {
    number: u64,
    housed: bool,
}

/// Ids from 1 until `wanted` of them are housed; one of `every` is not, the fourth first.
fn with_gaps(wanted: u32, every: u64) -> impl Iterator<Item = Id> {
    let ids = (1..).map(move |number| Id { number, housed: number % every != 4 });
    let mut left = wanted;
    ids.take_while(move |id| {
        let more = left > 0;
        left -= u32::from(more && id.housed);
        more
    })
}

/// A stable UUID drawn from the seed: a storage's filesystem id.
pub(super) fn uuid(seed: u64, name: &str) -> String {
    let purpose =
        name.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let mut draw = Draw::new(seed, purpose);
    let (a, b) = (draw.next(), draw.next());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | (b >> 50),
        b & 0xffff_ffff_ffff
    )
}
