//! What the loop does for actions on a cluster: it starts them, and takes what they learned into the state.

use std::collections::{BTreeMap, BTreeSet};

use super::{Engine, Message, guarded};
use crate::apply::cluster::{Ended, Hand, Learned, Neighbours, same_disk};
use crate::apply::event::{Event, Outcome};
use crate::apply::tally;
use crate::model::StorageName;
use crate::plan::{Action, ActionId, Change};
use crate::state::{Record, State, StorageRecord};

impl Engine<'_> {
    /// Starts an action on the cluster.
    pub(super) fn work_on_cluster(&self, id: ActionId, action: &Action) {
        let hand = Hand {
            ports: self.ports().clone(),
            journal: self.journal().clone(),
            events: self.mover.events.clone(),
            stop: self.stop.clone(),
            address: action.address.clone(),
            record: action.change.storage().and_then(|storage| self.state.storage(storage)).cloned(),
        };
        let neighbours = match &action.change {
            Change::AwaitReady { storage, .. } => self.neighbours(storage),
            _ => Neighbours::default(),
        };
        let (change, sender) = (action.change.clone(), self.sender.clone());
        let work = async move { Box::new(hand.act(&change, &neighbours).await) };
        let fault = |cause| Box::new(Ended::fault(cause));
        guarded(work, fault, move |ended| {
            let _ = sender.send(Message::Cluster(id, ended));
        });
    }

    /// The disks of all storages but one, as far as they are known.
    fn neighbours(&self, storage: &StorageName) -> Neighbours {
        let mut known: BTreeMap<StorageName, String> = self.plan.basis.filesystem_ids.clone();
        known.extend(self.recorded_disks().map(|(name, id)| (name, id.to_owned())));
        known.remove(storage);
        let others = self.plan.storages.keys().filter(|other| *other != storage && !known.contains_key(*other));
        // Pods that this plan makes compare themselves when they are ready.
        let made: BTreeSet<&StorageName> = self
            .plan
            .actions
            .iter()
            .filter_map(|action| match &action.change {
                Change::AwaitReady { storage, filesystem_id: None, .. } => Some(storage),
                _ => None,
            })
            .collect();
        let unknown = others.filter(|other| !made.contains(other)).cloned().collect();
        Neighbours { known, unknown }
    }

    /// The filesystem ids that the state has.
    fn recorded_disks(&self) -> impl Iterator<Item = (StorageName, &str)> {
        self.state.records.iter().filter_map(|(address, record)| match record {
            Record::Storage(StorageRecord { filesystem_id: Some(id), .. }) => {
                Some((StorageName::new(&*address.label).ok()?, id.as_str()))
            }
            _ => None,
        })
    }

    /// The disks that a wave relies on: as planned, or as this run saw them first.
    pub(super) fn disks_of(&self, destinations: &BTreeSet<StorageName>) -> BTreeMap<StorageName, String> {
        let mut ids = self.plan.basis.filesystem_ids.clone();
        for name in destinations {
            let seen = self.state.storage(name).and_then(|record| record.filesystem_id.clone());
            if let (false, Some(id)) = (ids.contains_key(name), seen) {
                ids.insert(name.clone(), id);
            }
        }
        ids
    }

    pub(super) async fn clustered(&mut self, id: ActionId, ended: Ended) {
        self.running -= 1;
        let Some(action) = self.action(id) else { return };
        let Ended { mut outcome, learned, in_doubt, alarm, fatal } = ended;
        self.summary.alarms += u64::from(alarm);
        if let Some(cause) = fatal {
            self.fatal = Some(cause);
        }
        if in_doubt {
            self.in_doubt = true;
            let message =
                format!("{}: whether it was carried out is not known; the next apply finds out", action.address);
            self.summary.remarks.push(message.clone());
            self.tell(Event::Warning { message });
        }
        let Some(storage) = action.change.storage() else { return };
        match learned {
            Some(Learned::Object { key, digest, uid }) => {
                tally::object(&mut self.state, storage, &key.to_string(), &digest, uid.as_deref());
                // It stands in the journal already: the file is written with what follows.
                self.unsaved += 1;
            }
            Some(Learned::Ready { claim_uid, filesystem_id, home }) => {
                let twin = self.recorded_disks().find(|(name, id)| name != storage && *id == filesystem_id);
                if let Some((other, _)) = twin {
                    outcome = Outcome::Failed { cause: same_disk(storage, &other) };
                    self.summary.alarms += 1;
                } else {
                    let record = self.state.storage_mut(storage);
                    record.claim_uid = claim_uid;
                    record.namespace = home.namespace;
                    record.cluster_uid = home.cluster_uid.or_else(|| record.cluster_uid.take());
                    record.filesystem_id = Some(filesystem_id);
                    self.save().await;
                }
            }
            Some(Learned::Forgotten) => {
                self.state.records.remove(&State::storage_address(storage));
                self.save().await;
            }
            None => {}
        }
        self.end(id, outcome);
    }
}
