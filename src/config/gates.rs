//! Looks at gates once everything is known: whether anything names them, whether there is anybody to ask, and whether
//! their queries tell one storage from another.

use std::collections::{BTreeMap, BTreeSet};

use super::build::Builder;
use super::syntax::Body;
use crate::diag::Diagnostic;
use crate::expr::{Expression, Value};
use crate::model::{Desired, Question, StorageName, VetoSource};

/// True when a query has another text for another selector.
fn selects(query: &Expression) -> bool {
    let with = |selector: &str| {
        let target = [("selector".to_owned(), Value::from(selector)), ("name".to_owned(), Value::from("x"))];
        query.evaluate(&BTreeMap::from([("target".to_owned(), Value::from(BTreeMap::from(target)))])).ok()
    };
    with("a") != with("b")
}

impl Builder<'_> {
    /// Tells what is doubtful about gates, and what keeps them from being asked.
    pub(super) fn look_at_gates(&mut self, desired: &Desired, body: &Body) {
        let named = desired.gates_named();
        let of = |kind: &str| body.blocks.iter().find(|block| block.kind == kind).map(|block| block.header);
        // Its Prometheus knows each storage by its name.
        if of("sandbox").is_some() && of("prometheus").is_none() {
            return;
        }
        let asked: Vec<_> = desired.gates.values().filter(|gate| named.contains(&gate.address)).collect();
        let metrics = || asked.iter().filter(|gate| matches!(gate.question, Question::Metrics(_)));
        let veto = desired.concurrency.vetoes.iter().any(|veto| matches!(veto.source, VetoSource::Query(_)));
        let asks = metrics().map(|gate| gate.span).next().or_else(|| of("concurrency").filter(|_| veto));
        if let (Some(asks), None) = (asks, of("prometheus")) {
            self.out.push(
                Diagnostic::error("config/no-prometheus", "Nobody to ask")
                    .detail("This asks Prometheus, and the configuration has no `prometheus` block.")
                    .at(asks)
                    .help("Add: prometheus { url = \"http://prometheus.monitoring:9090\" }"),
            );
        }
        let moved = desired.assignments.iter().flat_map(|assignment| assignment.from.iter().chain(&assignment.to));
        let moved: BTreeSet<&StorageName> = moved.collect();
        let mut told = BTreeSet::new();
        for gate in asked {
            let Question::Metrics(question) = &gate.question else { continue };
            if !selects(&question.query) {
                continue;
            }
            let targets = moved.iter().copied().chain(&question.baseline).filter_map(|name| desired.storages.get(name));
            for storage in targets.filter(|storage| storage.metrics.is_empty() && storage.pod.is_none()) {
                if !told.insert(&storage.name) {
                    continue;
                }
                self.out.push(
                    Diagnostic::warning("config/no-metrics-labels", "Storage that no label selects")
                        .detail(format!(
                            "{} has no `metrics`, so that `target.selector` is empty for it: {} then asks about all \
                             servers at once.",
                            storage.address, gate.address
                        ))
                        .at(storage.span)
                        .also(gate.span, "asks here")
                        .help("Give it its server's labels, for example: metrics = { instance = \"gitaly-01:9236\" }"),
                );
            }
        }
    }
}
