//! What a journal's records say.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::cluster::Manifest;
use crate::model::{Address, Bytes, Container, RefDigest, RefSnapshot, RepositoryRole, StorageName};
use crate::state::QuarantineRecord;

/// References above this are journaled as their digest only: a journal is for recovery, not a second copy.
const MOST_REFERENCES: usize = 50_000;

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The first of a journal; and once more each time that a run was taken up and something of it stays in doubt: all that
    /// stands before is in the state then, but for what is in doubt.
    Began {
        /// [`super::FORMAT`].
        format: u32,
        /// Of the state.
        environment: String,
    },
    /// A move is about to be asked for. Durable before the POST.
    Intent {
        /// What, from where, to where.
        intent: Box<Intent>,
    },
    /// GitLab took it.
    Accepted {
        /// What moves.
        container: Container,
        /// GitLab's id of the move.
        move_id: u64,
    },
    /// The source as it was read while frozen.
    Frozen {
        /// What moves.
        container: Container,
        /// Its repositories.
        sides: Vec<Side>,
    },
    /// The move was compared; nothing more to do for it.
    Verified {
        /// What moved.
        container: Container,
        /// `attested`, `advanced`, `bracketed` or `unknown`.
        verdict: String,
        /// Digest over the destination's repositories.
        destination: String,
        /// Whether the destination is whole, where that was looked at: `pass`, `unknown`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        whole: Option<String>,
        /// GitLab left the copy on the source.
        #[serde(default)]
        left: bool,
    },
    /// A move that GitLab had taken has ended, or is given up: its repository's read-only time is over, or was at least so
    /// long.
    Thawed {
        /// What moved.
        container: Container,
        /// Its path: its top-level group bears the time.
        path: String,
        /// When the freeze began, at most: just before the POST.
        at: Timestamp,
        /// Milliseconds from there to the end as it was seen.
        frozen_ms: u64,
    },
    /// Nothing of a wave is left to begin: it has passed once these have ended well.
    Closing {
        /// Its name.
        wave: String,
        /// Whose moves.
        source: StorageName,
        /// The assignments that had moves in it.
        assignments: BTreeSet<Address>,
        /// What was in flight, or about to be.
        flying: BTreeSet<Container>,
    },
    /// The repository was set aside.
    Quarantined {
        /// Which.
        container: Container,
        /// Why.
        quarantine: Box<QuarantineRecord>,
        /// A reference tip is missing.
        loss: bool,
    },
    /// The intent came to nothing: refused, failed and to be tried again, or moot.
    Dropped {
        /// What did not move.
        container: Container,
        /// Why.
        why: String,
    },
    /// An object is about to be applied. Durable before the call.
    ObjectIntent {
        /// Of which storage.
        storage: StorageName,
        /// The exact object.
        manifest: Box<Manifest>,
        /// Takes over fields that another manager owns.
        force: bool,
    },
    /// An object is as it was to be applied.
    Object {
        /// Of which storage.
        storage: StorageName,
        /// Like `StatefulSet/gitaly-a`.
        key: String,
        /// Of the manifest.
        digest: String,
        /// Of the live object.
        uid: Option<String>,
    },
    /// How many moves may be in flight was changed.
    Throttled {
        /// Of what: a storage as source or destination, GitLab's workers.
        what: String,
        /// Slots before.
        from: u32,
        /// Slots since.
        to: u32,
        /// Why.
        why: String,
    },
    /// The watching of a hold began, or ended for good.
    Soak {
        /// The hold's address.
        hold: Address,
        /// Since when it is watched, by the fleet's clock; `None`: a later watching begins anew.
        since: Option<Timestamp>,
    },
    /// Attempts of a move came to nothing so far, over all runs; none: they count no more.
    Tried {
        /// What did not move.
        container: Container,
        /// How often, and what was said.
        #[serde(flatten)]
        tried: Tried,
    },
    /// What stands before is what was to be known of earlier runs.
    Carried,
    /// A gate or a program of the operator's has answered, or has ended.
    Answered {
        /// The action's address.
        address: Address,
        /// What came of it, as it was told.
        outcome: String,
    },
    /// The probe's project leaves home, or is back.
    Probe {
        /// The project.
        container: Container,
        /// Where it belongs.
        home: StorageName,
        /// The storage that is tried.
        storage: StorageName,
        /// It is back.
        back: bool,
    },
    /// The state file is about to be replaced.
    Checkpoint {
        /// SHA-256 of its new canonical text, hex.
        state: String,
        /// Whose ends it holds that no earlier checkpoint names. An end that stands above but is not named here had not
        /// reached the state yet.
        holds: Vec<Container>,
    },
    /// The run is over, and nothing is in doubt.
    Ended,
}

/// Failed attempts of one move.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// How many, within the budget of a repository.
    pub attempts: u32,
    /// What each of the latest said, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<String>,
}

/// What is needed to follow a move that nobody remembers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// What moves.
    pub container: Container,
    /// Full path in GitLab.
    pub path: String,
    /// From.
    pub source: StorageName,
    /// To.
    pub destination: StorageName,
    /// For which assignment.
    pub assignment: Address,
    /// In which wave.
    pub wave: String,
    /// As planned.
    pub bytes: Bytes,
    /// From 1.
    pub attempt: u32,
    /// The greatest id of a move in its family before this one: ours is greater.
    pub before_id: u64,
    /// When, by the fleet's clock: a request that was cut off may run for a while yet.
    pub at: Timestamp,
    /// The source as it was read just before.
    pub before: Vec<Side>,
    /// False when `before` only names the paths: the move was found under way, and its source was not read before it.
    pub before_read: bool,
    /// The filesystem ids of source and destination differ, as seen in this run.
    pub disks_differ: bool,
    /// Whether the source was whole, object by object, where that was looked at: `pass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<String>,
}

/// One repository of a container at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Which.
    pub role: RepositoryRole,
    /// Its path on Gitaly.
    pub path: String,
    /// Over its references; `None`: there is no such repository.
    pub digest: Option<RefDigest>,
    /// The references themselves, where they are few enough to keep.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "snapshot")]
    pub snapshot: Option<RefSnapshot>,
}

impl Side {
    /// Makes a side of what was read.
    pub fn new(role: RepositoryRole, path: String, snapshot: Option<RefSnapshot>) -> Self {
        let digest = snapshot.as_ref().map(RefSnapshot::digest);
        Self { role, path, digest, snapshot }
    }

    /// The same without the references.
    #[must_use]
    pub fn digest_only(&self) -> Self {
        Self { snapshot: None, ..self.clone() }
    }

    /// The same, without references when they are too many for a journal.
    #[must_use]
    pub fn bounded(&self) -> Self {
        match &self.snapshot {
            Some(s) if s.references().len() > MOST_REFERENCES => self.digest_only(),
            _ => self.clone(),
        }
    }
}

/// References as hex and text: names need not be UTF-8.
mod snapshot {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::RefSnapshot;
    use crate::model::Reference;

    #[derive(Serialize, Deserialize)]
    struct Plain {
        head: Option<String>,
        format: Option<String>,
        references: Vec<(String, String)>,
    }

    pub(super) fn serialize<S: Serializer>(value: &Option<RefSnapshot>, serializer: S) -> Result<S::Ok, S::Error> {
        value
            .as_ref()
            .map(|s| Plain {
                head: s.head.as_deref().map(hex::encode),
                format: s.object_format.clone(),
                references: s.references().iter().map(|r| (hex::encode(&r.name), r.target.clone())).collect(),
            })
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RefSnapshot>, D::Error> {
        let Some(plain) = Option::<Plain>::deserialize(deserializer)? else { return Ok(None) };
        let decode = |text: &str| hex::decode(text).map_err(serde::de::Error::custom);
        let references = plain
            .references
            .into_iter()
            .map(|(name, target)| Ok(Reference { name: decode(&name)?, target }))
            .collect::<Result<Vec<_>, D::Error>>()?;
        let head = plain.head.as_deref().map(decode).transpose()?;
        Ok(Some(RefSnapshot::new(references, head, plain.format)))
    }
}
