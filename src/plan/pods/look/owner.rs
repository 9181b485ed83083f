//! Whose the objects of a storage are: this environment's, another one's, or known to nobody.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{One, Pods};
use crate::model::cluster::{ENVIRONMENT, ObjectKey, ObjectKind};
use crate::plan::Level;
use crate::plan::pods::say;
use crate::plan::pods::verdict::is_ours;

/// The environment that an object says it belongs to.
fn environment(object: &Value) -> Option<&str> {
    object.pointer("/metadata/annotations")?.get(ENVIRONMENT)?.as_str()
}

impl<'a> One<'a, '_> {
    /// True when the state knows the storage's pod: what is found there is what this environment made.
    pub(super) fn is_recorded(&self) -> bool {
        self.had_a_pod() || self.record.is_some_and(|record| record.filesystem_id.is_some())
    }

    /// True when the state knows objects of the storage: a Gitaly elsewhere has a disk, and none of those.
    pub(super) fn had_a_pod(&self) -> bool {
        self.record.is_some_and(|record| {
            !record.objects.is_empty() || record.statefulset_uid.is_some() || record.claim_uid.is_some()
        })
    }

    /// Whether what is there may be taken for this environment's; false: nothing is planned for it.
    pub(super) fn owner(&self, pods: &mut Pods<'a>) -> bool {
        let others = self.others();
        if !others.is_empty() {
            pods.findings.push(say::other_environment(self.storage, self.environment, &others, self.adopts()));
            return self.adopts();
        }
        let Some(set) = self.set().filter(|set| is_ours(set) && !self.is_recorded() && !self.adopts()) else {
            return true;
        };
        // Without the annotation it may be any environment's.
        let named = environment(set).is_some();
        let level = if named { Level::Danger } else { Level::Error };
        pods.findings.push(say::not_recorded(self.storage, level));
        named
    }

    /// Objects that say that they are another environment's, by that. A claim keeps what it was made with: it is asked only
    /// where nothing newer tells.
    fn others(&self) -> BTreeMap<String, Vec<ObjectKey>> {
        let claim = ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: self.wanted.claim.clone() };
        let claim = Some(claim).filter(|_| self.set().is_none() && !self.is_recorded());
        let mut others: BTreeMap<String, Vec<ObjectKey>> = BTreeMap::new();
        for key in self.wanted.manifests.iter().map(|manifest| &manifest.key).chain(claim.as_ref()) {
            let named = self.facts.objects.get(key).and_then(environment);
            if let Some(other) = named.filter(|other| *other != self.environment) {
                others.entry(other.to_owned()).or_default().push(key.clone());
            }
        }
        others
    }
}
