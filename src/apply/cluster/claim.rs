//! The last look at a storage's claim before its pod may stop or start. A claim that is being deleted goes with the last
//! pod that uses it, and its volume with it; without its claim a pod would start on an empty disk.

use serde_json::Value;

use super::{Hand, Step, failed, text, uid_of};
use crate::model::StorageName;
use crate::model::cluster::{ObjectKey, ObjectKind};
use crate::plan::pods;
use crate::state::StorageRecord;

/// The key of a storage's claim.
pub(super) fn claim_key(storage: &StorageName) -> ObjectKey {
    ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: pods::claim_name(storage.as_str()) }
}

/// True when somebody deleted the claim: the pods that use it are all that keeps it.
pub(in crate::apply) fn is_going(claim: &Value) -> bool {
    claim.pointer("/metadata/deletionTimestamp").is_some()
}

/// What a claim that is being deleted means, and the way out.
pub(in crate::apply) fn going(key: &ObjectKey) -> String {
    format!(
        "{key} is being deleted: it goes as soon as its pod stops, and the volume may go with it. Set the volume's reclaim \
         policy to Retain first (kubectl patch pv), then move the repositories off or copy the data"
    )
}

/// Why a storage's pod must not be stopped or started now, by its claim; `None`: it may. Pure.
fn hindrance(key: &ObjectKey, claim: Option<&Value>, record: Option<&StorageRecord>) -> Option<String> {
    let recorded = record.and_then(|record| record.claim_uid.as_deref());
    let known = recorded.is_some() || record.is_some_and(|record| record.filesystem_id.is_some());
    let Some(claim) = claim else {
        return known.then(|| {
            format!(
                "{key} is gone, and a new pod would start on an empty disk under a name that GitLab knows; plan again"
            )
        });
    };
    if is_going(claim) {
        return Some(going(key));
    }
    let uid = uid_of(claim).unwrap_or_default();
    if let Some(recorded) = recorded.filter(|recorded| *recorded != uid) {
        return Some(format!("{key} is another one (uid {uid}, recorded is {recorded}): plan again"));
    }
    let phase = text(claim, "/status/phase");
    (phase == "Lost" || (recorded.is_some() && phase != "Bound"))
        .then(|| format!("{key} is {phase}, not Bound: its pod is left as it is; plan again"))
}

impl Hand {
    /// Reads the claim, and refuses where a pod that stops or starts would cost the volume.
    pub(super) async fn claim_holds(&self, storage: &StorageName) -> Step<()> {
        let key = claim_key(storage);
        let live = self.live(&key).await?;
        match hindrance(&key, live.as_ref(), self.record.as_ref()) {
            Some(why) => failed(why),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_stopped_only_over_the_claim_that_is_recorded_and_stays() {
        let key = claim_key(&StorageName::new("gitaly-a").expect("valid"));
        let claim = |uid: &str, phase: &str| json!({ "metadata": { "uid": uid }, "status": { "phase": phase } });
        let record = |claim_uid: Option<&str>, id: Option<&str>| StorageRecord {
            claim_uid: claim_uid.map(ToOwned::to_owned),
            filesystem_id: id.map(ToOwned::to_owned),
            ..StorageRecord::default()
        };
        let why = |claim: Option<&Value>, record: Option<&StorageRecord>| hindrance(&key, claim, record);
        let known = record(Some("c-1"), Some("fs"));
        assert_eq!(why(Some(&claim("c-1", "Bound")), Some(&known)), None);
        // A first pod, and its claim that waits for it.
        assert_eq!(why(None, None), None);
        assert_eq!(why(Some(&claim("c-1", "Pending")), Some(&record(None, None))), None);
        let mut going = claim("c-1", "Bound");
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(why(Some(&going), None).is_some_and(|why| why.contains("is being deleted")));
        assert!(why(Some(&going), Some(&known)).is_some_and(|why| why.contains("is being deleted")));
        assert!(why(None, Some(&known)).is_some_and(|why| why.contains("is gone")));
        assert!(why(None, Some(&record(None, Some("fs")))).is_some_and(|why| why.contains("is gone")));
        assert!(why(Some(&claim("c-2", "Bound")), Some(&known)).is_some_and(|why| why.contains("recorded is c-1")));
        assert!(why(Some(&claim("c-1", "Pending")), Some(&known)).is_some_and(|why| why.contains("not Bound")));
        assert!(why(Some(&claim("c-1", "Lost")), None).is_some_and(|why| why.contains("is Lost")));
    }
}
