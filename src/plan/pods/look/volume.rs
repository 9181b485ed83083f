//! The claim of a storage and the volume behind it: whose they are, what becomes of them, and how large they should be.

use serde_json::Value;

use super::{Found, One, Pods, uid};
use crate::model::cluster::{Answer, Manifest, ObjectKey, ObjectKind, STORAGE_LABEL, VolumeFacts};
use crate::model::quantity::Quantity;
use crate::model::{Address, Bytes, Reading};
use crate::plan::pods::say::{self, Held};
use crate::plan::pods::statefulset::off_its_volume;
use crate::plan::pods::{ChangeClass, FieldChange};
use crate::plan::{Change, Finding, Level};

use super::held;

impl<'a> One<'a, '_> {
    /// All that is to be said and done about the claim and its volume.
    pub(super) fn volumes(&self, found: &mut Found, pods: &mut Pods<'a>) {
        self.claim(found, pods);
        self.empty_again(found, pods);
        self.volume(found, pods);
        self.grow(found, pods);
    }

    /// The claim must be this storage's own.
    fn claim(&self, found: &mut Found, pods: &mut Pods<'a>) {
        let Some(claim) = self.claimed() else {
            if self.record.is_some_and(|record| record.claim_uid.is_some() || record.filesystem_id.is_some()) {
                let elsewhere = self.elsewhere();
                let said = if self.had_a_pod() {
                    say::claim_gone(self.name, &self.wanted.claim, elsewhere.as_deref())
                } else {
                    say::never_a_pod(self.name)
                };
                pods.findings.push(said);
                found.broken = true;
            }
            return;
        };
        if claim.pointer("/metadata/deletionTimestamp").is_some() {
            let volume = claim.pointer("/spec/volumeName").and_then(Value::as_str);
            pods.findings.push(say::claim_terminating(self.name, &self.wanted.claim, volume));
            found.broken = true;
        }
        if claim.pointer("/status/phase").and_then(Value::as_str) == Some("Lost") {
            pods.findings.push(say::claim_lost(self.name, &self.wanted.claim));
            found.broken = true;
        }
        let recorded = self.record.and_then(|record| record.claim_uid.as_deref());
        let uid = uid(claim);
        let label = claim.pointer("/metadata/labels").and_then(|labels| labels.get(STORAGE_LABEL)?.as_str());
        match recorded {
            Some(recorded) if uid.as_deref() != Some(recorded) => {
                let elsewhere = self.elsewhere();
                let uid = uid.as_deref();
                let said = say::other_claim(self.name, &self.wanted.claim, recorded, uid, elsewhere.as_deref());
                pods.findings.push(said);
                found.broken = true;
            }
            None if self.set().is_none() => {
                let ours = label == Some(self.name.as_str());
                pods.findings.push(say::claim_exists(self.storage, &self.wanted.claim, label, ours || self.adopts()));
                found.broken |= !ours && !self.adopts();
            }
            _ => {}
        }
    }

    /// Why the objects are looked for where they are not, if that can be told.
    fn elsewhere(&self) -> Option<String> {
        let record = self.record?;
        let was = record.namespace.as_deref().filter(|was| *was != self.namespace);
        if let Some(was) = was {
            return Some(format!(
                "its objects were in the namespace {was:?}, and the configuration says {:?} now",
                self.namespace
            ));
        }
        let now = self.facts.identity.as_deref();
        record.cluster_uid.as_deref().zip(now).filter(|(was, now)| was != now).map(|_| {
            "this is another cluster than the one that it was in (the namespace kube-system has another uid)".to_owned()
        })
    }

    /// A claim keeps its class and its modes for ever.
    pub(super) fn other_volume(&self, changes: &[FieldChange]) -> Option<Finding> {
        let claim = self.claimed()?;
        let part = |field: &str| {
            changes.iter().any(|change| {
                change.path.starts_with(".spec.volumeClaimTemplates[repo-data]") && change.path.contains(field)
            })
        };
        let class = claim.pointer("/spec/storageClassName").and_then(Value::as_str).unwrap_or_default();
        let wants = self.spec.disk.class.as_deref();
        let bound = claim.pointer("/spec/volumeName").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        let never = !bound && claim.pointer("/status/phase").and_then(Value::as_str) == Some("Pending");
        if never && (part("storageClassName") || part("accessModes")) {
            return Some(say::never_bound(self.name, &self.wanted.claim, self.namespace));
        }
        if part("storageClassName") && wants.is_some_and(|wanted| wanted != class) {
            return Some(say::other_class(self.name, &self.wanted.claim, class, wants.unwrap_or_default()));
        }
        part("accessModes").then(|| say::other_modes(self.name, &self.wanted.claim))
    }

    /// A storage whose volume would be new, and on which GitLab lists repositories.
    fn empty_again(&self, found: &mut Found, pods: &mut Pods<'a>) {
        let new = found.set == Some(ChangeClass::Create) && self.claimed().is_none();
        let held = held(self.observed, Some(self.facts), self.name);
        if new && !found.broken && matches!(held, Held::All(1..) | Held::Projects(1..)) {
            pods.findings.push(say::empty_again(self.storage, &self.wanted.claim, held));
            found.broken = true;
        }
    }

    /// What becomes of the volume when its claim is gone. What is not known of it is told for all storages at once.
    fn volume(&self, found: &mut Found, pods: &mut Pods<'a>) {
        let Some((volume, facts)) = self.bound() else { return };
        // `retain = false` says that this is accepted.
        if facts.reclaim_policy != "Delete" || !self.spec.disk.retain {
            return;
        }
        let level = if found.recreated { Level::Error } else { Level::Danger };
        pods.findings.push(say::volume_deletes(self.name, &self.wanted.claim, volume, level));
        found.broken |= found.recreated;
    }

    /// The volume that the claim is bound to, as far as volumes may be read.
    pub(super) fn bound(&self) -> Option<(&str, &VolumeFacts)> {
        let name = self.claimed()?.pointer("/spec/volumeName")?.as_str()?;
        Some((name, self.facts.surroundings.volumes.known()?.get(name)?))
    }

    /// Why Gitaly would not have its repositories on the volume: by what is wanted, and by what others make of it.
    pub(super) fn off_its_volume(&self, manifest: &Manifest) -> Option<String> {
        let answers = [&self.facts.dry_runs, &self.facts.forced, &self.facts.anew];
        let then = answers.into_iter().filter_map(|answers| match answers.get(&manifest.key)?.known()? {
            Answer::Accepted(then) => Some(then),
            Answer::Refused(_) => None,
        });
        std::iter::once(&manifest.body).chain(then).find_map(off_its_volume)
    }

    /// The volume grows by its claim.
    fn grow(&self, found: &mut Found, pods: &mut Pods<'a>) {
        let claim = &self.wanted.claim;
        let Some(live) = self.claimed() else { return };
        let size = |pointer: &str| Some(Quantity::parse(live.pointer(pointer)?.as_str()?).ok()?.bytes());
        let Some(from) = size("/spec/resources/requests/storage") else { return };
        let to = self.wanted.size;
        if to < from {
            pods.findings.push(say::shrinks(self.storage, claim, from, to));
            found.broken = true;
        }
        if to <= from {
            self.grows_still(live, size("/status/capacity/storage"), from, pods);
            return;
        }
        match self.facts.growth.get(self.name) {
            Some(Reading::Known(Answer::Accepted(_))) => {
                pods.growth.insert(self.name, to.0 - from.0);
                let change = Change::GrowDisk { storage: self.name.clone(), claim: claim.clone(), from, to };
                let reason = "the configuration asks for a larger disk";
                pods.actions.push(self.action(Address::new("disk", self.name.as_str()), change, reason));
            }
            Some(Reading::Known(Answer::Refused(refusal))) => {
                pods.findings.push(say::cannot_grow(self.name, claim, refusal));
                found.broken = true;
            }
            other => {
                let cause = match other {
                    Some(Reading::Unknown(cause)) => cause.as_str(),
                    _ => "it was not asked",
                };
                let key = ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: claim.clone() };
                pods.findings.push(say::not_tried(&key, cause));
                found.broken = true;
            }
        }
    }

    /// A claim that asked for more before, and whose volume has not come to it: an apply that gave up is taken up again.
    fn grows_still(&self, live: &Value, capacity: Option<Bytes>, asked: Bytes, pods: &mut Pods<'a>) {
        let claim = &self.wanted.claim;
        let conditions = live.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        let text = |condition: &Value, field: &str| {
            condition.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let holds: Vec<&Value> = conditions.filter(|one| text(one, "status") != "False").collect();
        if holds.iter().any(|one| text(one, "type") == "FileSystemResizePending") {
            pods.findings.push(say::resize_pending(self.name, claim));
            return;
        }
        let Some(capacity) = capacity.filter(|capacity| *capacity < asked && self.wanted.size == asked) else { return };
        let told = holds.iter().map(|one| match text(one, "message").as_str() {
            "" => text(one, "type"),
            message => format!("{}: {message}", text(one, "type")),
        });
        let told: Vec<String> = told.collect();
        let told = if told.is_empty() { String::new() } else { format!(" ({})", told.join("; ")) };
        pods.growth.insert(self.name, asked.0 - capacity.0);
        let change = Change::GrowDisk { storage: self.name.clone(), claim: claim.clone(), from: capacity, to: asked };
        let reason = format!("its claim asks for it already, and its volume has not grown yet{told}");
        pods.actions.push(self.action(Address::new("disk", self.name.as_str()), change, &reason));
    }
}
