//! Replaces a pod: deletes it, so that its StatefulSet makes it anew. A pod is not data.

use async_trait::async_trait;

use super::{Halt, Hand, INTERVAL, Learned, Next, Said, Step, Write, failed, uid_of};
use crate::apply::event::Outcome;
use crate::apply::port::{Cluster, Delete, PortResult};
use crate::model::StorageName;
use crate::model::cluster::{Answer, ObjectKey, ObjectKind};

/// Seconds by the fleet's clock until a pod that was deleted is gone: its own grace period, and the kubelet's time. A pod
/// on a node that was lost stays for ever, and is never deleted by force: its Gitaly may still write.
const GONE: i64 = 600;

/// One delete of a pod.
struct Deleting {
    storage: StorageName,
    key: ObjectKey,
    uid: String,
}

#[async_trait]
impl Write for Deleting {
    type Sent = ();
    type Over = ();

    /// Whether it is still there and was not told to stop yet.
    async fn look(&self, hand: &Hand) -> Step<Next<(), ()>> {
        let live = hand.live(&self.key).await?.filter(|live| uid_of(live) == Some(&self.uid));
        let runs = live.is_some_and(|live| live.pointer("/metadata/deletionTimestamp").is_none());
        if !runs {
            return Ok(Next::Over(()));
        }
        hand.claim_holds(&self.storage).await?;
        Ok(Next::Send(()))
    }

    async fn send(&self, cluster: &dyn Cluster, (): ()) -> PortResult<Answer> {
        let how = Delete { uid: Some(self.uid.clone()), ..Delete::default() };
        cluster.delete(&self.key, &how).await
    }
}

impl Hand {
    /// Deletes a pod and waits until it is gone.
    pub(super) async fn replace_pod(
        &self,
        storage: &StorageName,
        pod: &str,
        uid: &str,
    ) -> Step<(String, Option<Learned>)> {
        let key = ObjectKey { kind: ObjectKind::Pod, name: pod.to_owned() };
        let write = Deleting { storage: storage.clone(), key: key.clone(), uid: uid.to_owned() };
        match self.settle(&write).await {
            Ok(_) => {}
            // Gone between the look and the call.
            Err(Halt::Outcome(Outcome::Failed { .. }))
                if self.live(&key).await?.is_none_or(|live| uid_of(&live) != Some(uid)) => {}
            Err(halt) => return Err(halt),
        }
        let began = self.now();
        let mut said = Said::default();
        while self.live(&key).await?.is_some_and(|live| uid_of(&live) == Some(uid)) {
            if self.now().duration_since(began).as_secs() >= GONE {
                return failed(format!(
                    "{key} is still stopping {GONE} s after it was deleted: is its node lost? It is not deleted by force, \
                     since its Gitaly may still write; see to the node, then apply again"
                ));
            }
            self.say(&mut said, &format!("waiting until {key} has stopped"));
            if !self.pause(INTERVAL).await {
                return Err(Halt::Outcome(Outcome::NotStarted));
            }
        }
        Ok(("deleted; its StatefulSet makes it anew".to_owned(), None))
    }
}
