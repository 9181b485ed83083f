//! Seeded draws and the population of a new world: which projects there are, what shape each has, where it lives.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::world::Project;
use crate::model::{SandboxConnection, StorageName};

/// SplitMix64: tiny, seeded, the same on every machine.
#[derive(Debug, Clone)]
pub(super) struct Draw(u64);

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

/// One project of a new world.
#[derive(Debug, Clone)]
pub struct Settler {
    /// The project; its sizes are drawn, a real one's are measured later.
    pub project: Project,
    /// Its repository's shape.
    pub shape: Shape,
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

/// All projects of the world that `spec` describes, by ascending id from 1. Storages take new projects as GitLab
/// does: in proportion to their weights.
pub(super) fn population(spec: &SandboxConnection, weights: &BTreeMap<StorageName, u64>) -> Vec<Settler> {
    // 2024-01-01: nothing of a world depends on the day it is made.
    let epoch = Timestamp::from_second(1_704_067_200).unwrap_or(Timestamp::UNIX_EPOCH);
    let total: u64 = weights.values().sum();
    let mut settlers = Vec::new();
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
        let mut place = draw.below(total);
        let storage = weights
            .iter()
            .find(|(_, weight)| {
                let here = place < **weight;
                place = place.saturating_sub(**weight);
                here
            })
            .map(|(name, _)| name.clone())
            .or_else(|| spec.storages.first().map(|s| s.name.clone()));
        let Some(storage) = storage else { break };
        let created = epoch + SignedDuration::from_secs((draw.below(365 * 86_400)) as i64);
        let last_activity = created + SignedDuration::from_secs((draw.below(365 * 86_400)) as i64);
        let empty = shape == Shape::Empty;
        let fork_parent = (index > 11 && draw.below(15) == 0).then_some(1);
        let project = Project {
            id: index + 1,
            path,
            archived,
            storage,
            read_only: false,
            empty,
            wiki,
            design,
            repository_size: if empty { 0 } else { draw.size() },
            wiki_size: if wiki { draw.below(1 << 20) } else { 0 },
            fork_parent,
            created,
            last_activity,
        };
        settlers.push(Settler { project, shape });
    }
    settlers
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
