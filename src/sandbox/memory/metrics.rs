//! Prometheus' port onto a fleet in memory.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::super::prometheus::{Fault, Labels, Query, Sample, Scrape, Value};
use super::port::Port;
use crate::apply::port::{Metrics, PortError, PortErrorKind, PortResult, Series};

/// A series as the real adapter makes it of the wire.
fn series(labels: Labels, points: impl IntoIterator<Item = (i64, f64)>) -> Series {
    let time = |milliseconds| Timestamp::from_millisecond(milliseconds).unwrap_or_default();
    Series { labels, points: points.into_iter().map(|(at, value)| (time(at), value)).collect() }
}

fn read(value: Value, at: i64) -> Result<Vec<Series>, String> {
    match value {
        Value::Scalar(value) => Ok(vec![series(Labels::new(), [(at, value)])]),
        Value::Text(_) => Err("the query gives a string, and a number is needed".to_owned()),
        Value::Vector(elements) => {
            Ok(elements.into_iter().map(|Sample { labels, value, .. }| series(labels, [(at, value)])).collect())
        }
        Value::Matrix(all) => Ok(all.into_iter().map(|(labels, points)| series(labels, points)).collect()),
    }
}

impl Port {
    /// What a test has scripted for a query.
    async fn scripted(
        &self,
        query: &str,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> Option<PortResult<Vec<Series>>> {
        let answer = |inner: &mut super::Inner| Ok(inner.script.answer(query, from, to, step));
        self.call("query", format!("query {query}"), |_, inner| answer(inner)).await.transpose()
    }

    async fn measured(
        &self,
        method: &'static str,
        at: i64,
        ask: impl FnOnce(&Scrape) -> Result<Value, Fault> + Send,
    ) -> PortResult<Vec<Series>> {
        let call = format!("GET /api/v1/{method}");
        self.call(method, call.clone(), |_, inner| {
            if inner.world.prometheus_is_away(inner.now) {
                let message = "Prometheus answered 503: `Service Unavailable` (text/plain; charset=utf-8)";
                return Err(PortError { status: Some(503), ..PortError::new(PortErrorKind::Transient, call, message) });
            }
            let mut scrape = inner.world.scraped(inner.now);
            for labels in inner.silent.iter().map(|storage| inner.world.labels_of(storage)) {
                for server in scrape.servers.iter_mut().filter(|server| server.labels == labels) {
                    server.down.push((inner.now.as_millisecond() - 15_000, i64::MAX));
                }
            }
            let refused = |message: String| PortError::new(PortErrorKind::Refused, call, message);
            let value = ask(&scrape).map_err(|fault| refused(fault.to_string()))?;
            read(value, at)
                .map_err(|message| PortError::new(PortErrorKind::Refused, format!("GET /api/v1/{method}"), message))
        })
        .await
    }
}

#[async_trait]
impl Metrics for Port {
    async fn query(&self, query: &str, at: Timestamp) -> PortResult<Vec<Series>> {
        let second = Duration::from_secs(1);
        if let Some(scripted) = self.scripted(query, at, at, second).await {
            return scripted;
        }
        let at = at.as_millisecond();
        self.measured("query", at, |scrape| Query::parse(query)?.at(scrape, at)).await
    }

    async fn range(&self, query: &str, from: Timestamp, to: Timestamp, step: Duration) -> PortResult<Vec<Series>> {
        if let Some(scripted) = self.scripted(query, from, to, step).await {
            return scripted;
        }
        let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
        let (from, to) = (from.as_millisecond(), to.as_millisecond());
        self.measured("query_range", to, |scrape| Query::parse(query)?.over(scrape, from, to, step)).await
    }
}
