//! Steps of the ramp: several weights at once, and what stands in the state of them.

use std::collections::BTreeMap;

use super::{Engine, Message, guarded};
use crate::apply::action;
use crate::apply::event::Outcome;
use crate::model::StorageName;
use crate::plan::{ActionId, After, Change, WeightChange, hold_address};

impl Engine<'_> {
    /// Sets the weights of one step.
    pub(super) fn ramp(&self, id: ActionId, weights: BTreeMap<StorageName, WeightChange>) {
        let (ports, sender, settings) = (self.ports().clone(), self.sender.clone(), self.settings.clone());
        let work = async move {
            let _one = settings.lock().await;
            action::set_weights(&ports, &weights).await
        };
        guarded(
            work,
            |fault| (Outcome::Failed { cause: fault }, Vec::new()),
            move |(outcome, remarks)| {
                let _ = sender.send(Message::Weight(id, outcome, remarks));
            },
        );
    }

    /// Records a step that was set; what it must hold for is not passed yet.
    pub(super) async fn step_done(&mut self, id: ActionId, outcome: &Outcome) {
        let Some(Change::Ramp { percent, weights, .. }) = self.action(id).map(|action| &action.change) else { return };
        if !matches!(outcome, Outcome::Done { .. }) {
            return;
        }
        for (storage, change) in weights {
            self.state.storage_mut(storage).weight = Some(change.after);
        }
        self.state.begin_ramp();
        self.note_step(*percent);
        self.save().await;
    }

    /// Notes that the last step, which is the weights' own actions, was begun.
    pub(super) fn last_step(&mut self, id: ActionId) {
        if self.action(id).is_some_and(|action| matches!(action.change, Change::SetWeight { .. })) {
            self.note_step(100);
        }
    }

    fn note_step(&mut self, percent: u8) {
        let after = After::Ramp { percent };
        let hold = self.plan.actions.iter().find_map(|action| match &action.change {
            Change::Hold { after: of, storages, rollback, .. } if *of == after => Some((storages, rollback)),
            _ => None,
        });
        let Some((storages, rollback)) = hold else { return };
        self.state.begin_ramp();
        let record = self.state.hold_mut(&hold_address(&after));
        (record.storages, record.rollback, record.passed) = (storages.clone(), rollback.clone(), false);
    }
}
