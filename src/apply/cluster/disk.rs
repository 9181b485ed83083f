//! Grows a volume's claim, and waits for the volume.

use async_trait::async_trait;
use jiff::SignedDuration;
use serde_json::Value;

use super::{Hand, INTERVAL, Learned, Next, Said, Step, Write, failed, stale, text};
use crate::apply::event::Outcome;
use crate::apply::port::{Cluster, PortResult};
use crate::model::Bytes;
use crate::model::cluster::{Answer, ObjectKey, ObjectKind};
use crate::model::quantity::Quantity;

/// How long the storage's driver may take. Growing takes seconds to minutes; some providers let a volume change once in
/// hours, and say so in an event.
const GROWS: SignedDuration = SignedDuration::from_mins(15);

fn size(claim: &Value, pointer: &str) -> Option<Bytes> {
    Quantity::parse(text(claim, pointer)).ok().map(Quantity::bytes)
}

/// Where a claim stands on its way to a size.
#[derive(Debug, PartialEq, Eq)]
enum Growth {
    Grown,
    /// The rest happens when a pod starts with it.
    AtRestart,
    NotYet(String),
    Never(String),
}

fn growth(claim: &Value, to: Bytes) -> Growth {
    if text(claim, "/status/phase") == "Lost" {
        return Growth::Never("the claim is Lost: the volume that it was bound to is gone".to_owned());
    }
    if size(claim, "/status/capacity/storage").is_some_and(|size| size >= to) {
        return Growth::Grown;
    }
    let conditions = claim.pointer("/status/conditions").and_then(Value::as_array);
    let mut why = "the volume is being grown".to_owned();
    for condition in conditions.into_iter().flatten().filter(|one| text(one, "/status") == "True") {
        match text(condition, "/type") {
            "FileSystemResizePending" => return Growth::AtRestart,
            "ControllerResizeError" | "NodeResizeError" => {
                why = format!("{}: {}", text(condition, "/type"), text(condition, "/message"));
            }
            _ => {}
        }
    }
    Growth::NotYet(why)
}

/// One change of a claim's size.
struct Growing {
    key: ObjectKey,
    from: Bytes,
    to: Bytes,
}

#[async_trait]
impl Write for Growing {
    type Sent = ();
    type Over = ();

    async fn look(&self, hand: &Hand) -> Step<Next<(), ()>> {
        let Self { key, from, to } = self;
        let Some(live) = hand.live(key).await? else {
            return stale(format!("{key} is gone; the plan was made when it was there"));
        };
        match size(&live, "/spec/resources/requests/storage") {
            Some(asked) if asked >= *to => Ok(Next::Over(())),
            Some(asked) if asked == *from => Ok(Next::Send(())),
            asked => {
                let asked = asked.map_or_else(|| "nothing".to_owned(), |asked| asked.to_string());
                stale(format!("{key} asks for {asked}; the plan was made when it asked for {from}"))
            }
        }
    }

    async fn send(&self, cluster: &dyn Cluster, (): ()) -> PortResult<Answer> {
        cluster.grow(&self.key.name, self.to, false).await
    }
}

impl Hand {
    /// Asks for another size, and waits until it is there.
    pub(super) async fn grow(&self, claim: &str, from: Bytes, to: Bytes) -> Step<(String, Option<Learned>)> {
        let key = ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: claim.to_owned() };
        // What was told before is not about this.
        let old = self.newest_event(&key).await;
        self.settle(&Growing { key: key.clone(), from, to }).await?;
        let began = self.now();
        let mut said = Said::default();
        loop {
            let Some(live) = self.live(&key).await? else { return failed(format!("{key} is gone")) };
            let why = match growth(&live, to) {
                Growth::Grown => return Ok((format!("{from} -> {to}"), None)),
                Growth::AtRestart => {
                    return Ok((format!("{from} -> {to}; its file system grows when the pod restarts"), None));
                }
                Growth::Never(why) => return failed(why),
                Growth::NotYet(why) => why,
            };
            let event = self
                .newest_event(&key)
                .await
                .filter(|event| old.as_ref() != Some(event))
                .map_or_else(String::new, |event| format!(" ({event})"));
            if self.now().duration_since(began) >= GROWS {
                let minutes = GROWS.as_mins();
                return failed(format!("{key} has not grown to {to} within {minutes} min: {why}{event}; apply again"));
            }
            self.say(&mut said, &format!("{why}{event}"));
            if !self.pause(INTERVAL).await {
                return Err(super::Halt::Outcome(Outcome::NotStarted));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_has_grown_when_its_volume_has() {
        let to = Bytes(20 << 30);
        let claim = |phase: &str, capacity: &str, condition: &str| {
            let conditions = json!([{ "type": condition, "status": "True", "message": "quota" }]);
            json!({ "status": { "phase": phase, "capacity": { "storage": capacity }, "conditions": conditions } })
        };
        assert_eq!(growth(&claim("Bound", "20Gi", ""), to), Growth::Grown);
        assert_eq!(growth(&claim("Bound", "10Gi", "FileSystemResizePending"), to), Growth::AtRestart);
        assert!(
            matches!(growth(&claim("Bound", "10Gi", "Resizing"), to), Growth::NotYet(why) if why.contains("grown"))
        );
        let error = growth(&claim("Bound", "10Gi", "ControllerResizeError"), to);
        assert_eq!(error, Growth::NotYet("ControllerResizeError: quota".to_owned()));
        assert!(matches!(growth(&claim("Lost", "10Gi", ""), to), Growth::Never(_)));
        assert!(matches!(growth(&json!({}), to), Growth::NotYet(_)));
    }
}
