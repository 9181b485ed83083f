//! What Prometheus knows of the world, and the faults that spoil it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::faults::DOWN;
use super::{Change, Outages, World};
use crate::model::StorageName;
use crate::sandbox::draw;
use crate::sandbox::prometheus::{Labels, Scrape, Server};

/// How long Prometheus had been there before the world begins.
const BEFORE: SignedDuration = SignedDuration::from_hours(2);
/// A Gitaly that is away was found so by the last scrape.
const LATELY: i64 = 15_000;

/// What faults have made of metrics. Spans of the fleet's time, the end left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spoiled {
    /// More requests fail on these.
    pub errors: BTreeMap<StorageName, Vec<(Timestamp, Timestamp)>>,
    /// These are not scraped.
    pub gaps: BTreeMap<StorageName, Vec<(Timestamp, Timestamp)>>,
    /// Prometheus does not answer until then.
    pub away: Option<Timestamp>,
}

impl World {
    /// The faults on metrics whose occasion a move to a storage is. They last `count` minutes.
    pub(super) fn spoil_metrics(&mut self, to: &StorageName, now: Timestamp) {
        let mut spoiled = self.outages.metrics.clone();
        for kind in ["metrics_errors", "metrics_gap", "metrics_away"] {
            let Some(minutes) = self.begins(kind) else { continue };
            let until = now.checked_add(SignedDuration::from_mins(i64::from(minutes))).unwrap_or(now);
            match kind {
                "metrics_errors" => spoiled.errors.entry(to.clone()).or_default().push((now, until)),
                "metrics_gap" => spoiled.gaps.entry(to.clone()).or_default().push((now, until)),
                _ => spoiled.away = Some(until),
            }
        }
        if spoiled != self.outages.metrics {
            self.note(Change::Outages(Outages { metrics: spoiled, ..self.outages.clone() }));
        }
    }

    /// Counts an occasion of a fault that lasts: when it begins with this one, its minutes.
    pub(super) fn begins(&mut self, kind: &str) -> Option<u32> {
        if !self.spec.faults.iter().any(|fault| fault.kind == kind) {
            return None;
        }
        let seen = self.occasions.entry(kind.to_owned()).or_default();
        *seen = seen.saturating_add(1);
        let now = *seen;
        self.changes.push(Change::Occasions(self.occasions.clone()));
        self.spec.faults.iter().find(|fault| fault.kind == kind && fault.nth == now).map(|fault| fault.count)
    }

    /// True while Prometheus does not answer.
    pub fn prometheus_is_away(&self, now: Timestamp) -> bool {
        self.outages.metrics.away.is_some_and(|until| now < until)
    }

    /// The Prometheus labels of storages' servers, as the configuration declares them.
    pub fn label(&mut self, labels: BTreeMap<StorageName, BTreeMap<String, String>>) {
        self.labels = labels;
    }

    /// What was scraped until now.
    pub fn scraped(&self, now: Timestamp) -> Scrape {
        let mut moves: BTreeMap<&StorageName, Vec<i64>> = BTreeMap::new();
        for one in self.moves.values() {
            let Some(began) = one.started_at else { continue };
            for storage in [&one.source, &one.destination] {
                moves.entry(storage).or_default().push(began.as_millisecond());
            }
        }
        let servers = self.storages().into_iter().filter_map(|storage| {
            let pod = self.pods.get(&storage);
            let began = match pod {
                Some(pod) => pod.since?,
                None => self.epoch.checked_sub(BEFORE).unwrap_or(self.epoch),
            };
            let mut moves = moves.remove(&storage).unwrap_or_default();
            moves.sort_unstable();
            let spans = |all: &BTreeMap<StorageName, Vec<(Timestamp, Timestamp)>>| {
                let mine = all.get(&storage).into_iter().flatten();
                mine.map(|(from, until)| (from.as_millisecond(), until.as_millisecond())).collect()
            };
            let mut down: Vec<(i64, i64)> = Vec::new();
            if let Some(until) = self.outages.gitaly.get(&storage) {
                let from = until.checked_sub(DOWN).unwrap_or(*until);
                down.push((from.as_millisecond(), until.as_millisecond()));
            }
            if pod.is_some_and(|pod| !pod.up) {
                down.push((now.as_millisecond() - LATELY, i64::MAX));
            }
            Some(Server {
                labels: self.labels_of(&storage),
                seed: draw::seed_of(self.spec.seed, storage.as_str()),
                from: began.as_millisecond(),
                moves,
                errors: spans(&self.outages.metrics.errors),
                gaps: spans(&self.outages.metrics.gaps),
                down,
                disk: self.disk(&storage, now),
            })
        });
        Scrape { now: now.as_millisecond(), servers: servers.collect() }
    }

    /// What tells a storage's server from others: its declared labels, else its name.
    pub fn labels_of(&self, storage: &StorageName) -> Labels {
        let mut labels = match self.labels.get(storage) {
            Some(declared) if !declared.is_empty() => declared.clone(),
            _ => Labels::from([("storage".to_owned(), storage.to_string())]),
        };
        labels.entry("job".to_owned()).or_insert_with(|| "gitaly".to_owned());
        labels
    }
}
