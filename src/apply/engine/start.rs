//! Which task an action is.

use std::collections::{BTreeMap, BTreeSet};

use super::{Engine, Message, guarded};
use crate::apply::event::{Event, Outcome};
use crate::apply::wave::prepare;
use crate::apply::{action, proof};
use crate::plan::{ActionId, Change, WeightChange};

impl Engine<'_> {
    /// Begins an action.
    pub(super) fn start(&mut self, id: ActionId) {
        let Some(action) = self.action(id) else { return };
        self.tell(Event::ActionStarted { address: action.address.clone(), what: action.reason.clone() });
        self.running += 1;
        let (ports, sender) = (self.ports().clone(), self.sender.clone());
        match &action.change {
            Change::SetWeight { storage, from, to } => {
                let (storage, from, to) = (storage.clone(), *from, *to);
                let settings = self.settings.clone();
                let work = async move {
                    let _one = settings.lock().await;
                    let change = WeightChange { before: from, after: to };
                    action::set_weights(&ports, &BTreeMap::from([(storage, change)])).await
                };
                guarded(
                    work,
                    |fault| (Outcome::Failed { cause: fault }, Vec::new()),
                    move |(outcome, remarks)| {
                        let _ = sender.send(Message::Weight(id, outcome, remarks));
                    },
                );
            }
            Change::ProveEmpty { storage } => {
                let storage = storage.clone();
                let events = self.mover.events.clone();
                let waiting = move |what| drop(events.send(Event::Waiting { what }));
                let (known, stop) = (proof::Known::of(&self.state, &storage), self.stop.clone());
                let work = async move { proof::prove_empty(&ports, &storage, &known, &stop, waiting).await };
                guarded(
                    work,
                    |fault| (Outcome::Failed { cause: fault }, None),
                    move |(outcome, digest)| {
                        let _ = sender.send(Message::Proof(id, outcome, digest));
                    },
                );
            }
            Change::ApplyObject { .. }
            | Change::RecreateStatefulSet { .. }
            | Change::GrowDisk { .. }
            | Change::ReplacePod { .. }
            | Change::AwaitReady { .. }
            | Change::AwaitKnown { .. }
            | Change::Forget { .. } => self.work_on_cluster(id, action),
            Change::Probe { .. } => self.probe(id, action),
            Change::Ramp { weights, .. } => self.ramp(id, weights.clone()),
            Change::Hold { .. } => self.hold(id, action),
            Change::RunHook { hook, on, wave } => {
                let input = self.told(*on, &action.address, [("wave", serde_json::json!(wave))]);
                self.run_hook_of(id, hook.clone(), *on, wave, input);
            }
            Change::Moves { source, .. } => {
                let source = source.clone();
                let destinations: BTreeSet<_> =
                    self.plan.moves_of(action).iter().map(|m| m.destination.clone()).collect();
                let ids = self.disks_of(&destinations);
                let (events, stop) = (self.mover.events.clone(), self.stop.clone());
                let told = move |what| drop(events.send(Event::Waiting { what }));
                let poller = self.mover.poller.clone();
                let work = async move {
                    // What others keep workers busy with is known before the first move is scheduled behind it.
                    poller.look_around().await;
                    prepare(&ports, &source, destinations, &ids, &stop, told).await
                };
                guarded(
                    work,
                    |fault| Err(Outcome::Failed { cause: fault }),
                    move |prepared| {
                        let _ = sender.send(Message::Prepared(id, prepared));
                    },
                );
            }
        }
    }
}
