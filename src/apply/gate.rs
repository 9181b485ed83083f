//! Asks one check of a gate and judges the answer: pass, fail or unknown, with the value that was seen. What a judgement
//! is made of stands in `plan::judge`.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join;
use jiff::Timestamp;
use promql_parser::parser::{Expr, MatrixSelector, VectorSelector};

use super::port::{Metrics, PortError, PortErrorKind, PortResult, Ports};
use crate::model::{Answer, Answers, Freshness, Series};
pub use crate::plan::judge::{Folded, Judgement, fold};
use crate::plan::{Check, Verdict, judge};

/// Checks asked at once: each is a few queries, and Prometheus runs 20 at a time for everybody.
const AT_ONCE: usize = 4;

/// Asks Prometheus, once, and judges. Where there is none, the verdict is unknown.
pub async fn ask(ports: &Ports, check: &Check, at: Timestamp) -> Judgement {
    match &ports.metrics {
        Some(metrics) => judge::judge(check, &answers(metrics.as_ref(), check, at).await),
        None => Judgement {
            verdict: Verdict::Unknown,
            why: format!("{} of {}: there is no Prometheus to ask", check.gate, check.target),
        },
    }
}

/// Asks several checks, in order, with bounded concurrency.
pub async fn ask_all(ports: &Ports, checks: &[Check], at: Timestamp) -> Vec<Judgement> {
    futures::stream::iter(checks.iter().map(|check| ask(ports, check, at))).buffered(AT_ONCE).collect().await
}

/// Asks what a check needs to be judged.
pub async fn answers(metrics: &dyn Metrics, check: &Check, at: Timestamp) -> Answers {
    let others = async {
        let mut baseline = BTreeMap::new();
        for (storage, query) in &check.baseline {
            let mut found = answer(question(metrics, check, query, at).await);
            if matches!(&found, Answer::Series(series) if !series.is_empty()) {
                // What is not measured any more is nothing to compare with.
                let old = freshness(metrics, query, at).await.map(|fresh| judge::stale(&fresh));
                if let Some(why) = old.unwrap_or_else(|error| Some(error.message)) {
                    found = Answer::Failed(why);
                }
            }
            baseline.insert(storage.clone(), found);
        }
        baseline
    };
    let (target, baseline) = join(question(metrics, check, &check.query, at), others).await;
    let mut target = answer(target);
    let mut fresh = Vec::new();
    if matches!(&target, Answer::Series(series) if !series.is_empty()) {
        match freshness(metrics, &check.query, at).await {
            Ok(found) => fresh = found,
            // An answer whose age cannot be told is none.
            Err(error) => {
                target = Answer::Failed(format!("how old its samples are could not be asked: {}", error.message));
            }
        }
    }
    Answers { at, target, baseline, freshness: fresh }
}

async fn question(metrics: &dyn Metrics, check: &Check, query: &str, at: Timestamp) -> PortResult<Vec<Series>> {
    match judge::sampling(check, at) {
        Some(sampling) => metrics.range(query, sampling.from, at, sampling.step).await,
        None => metrics.query(query, at).await,
    }
}

fn answer(result: PortResult<Vec<Series>>) -> Answer {
    match result {
        Ok(series) => Answer::Series(series),
        Err(PortError { kind: PortErrorKind::Refused, message, .. }) => Answer::Refused(message),
        Err(error) => Answer::Failed(error.message),
    }
}

/// Finds how old the newest samples are that a query rests on. Prometheus does not tell: an answer bears the time of the
/// question, and a sample counts for five minutes, or for the whole of a range. So each selector of the query is asked
/// for the time of its newest sample, and for how many there were lately, which tells how often one comes.
async fn freshness(metrics: &dyn Metrics, query: &str, at: Timestamp) -> PortResult<Vec<Freshness>> {
    let mut found = Vec::new();
    for (selector, window) in selectors(query) {
        let window_seconds = window.as_secs().saturating_add(300).max(Freshness::LEAST_WINDOW);
        let (newest, lately) =
            (format!("max(timestamp({selector}))"), format!("max(count_over_time({selector}[{window_seconds}s]))"));
        let (newest, lately) = join(metrics.query(&newest, at), metrics.query(&lately, at)).await;
        let (newest, lately) = (newest?, lately?);
        let value = |series: &[Series]| series.first()?.points.last().map(|(_, value)| *value);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
        let now = at.as_millisecond() as f64 / 1000.0;
        found.push(Freshness {
            selector,
            age_seconds: value(&newest).map(|time| now - time),
            samples: value(&lately).unwrap_or(0.0),
            window_seconds,
        });
    }
    Ok(found)
}

/// The selectors of a query, as they are without `offset` and `@`, each with the widest range it is taken over; none of
/// a query that cannot be parsed.
fn selectors(query: &str) -> BTreeMap<String, Duration> {
    let mut found = BTreeMap::new();
    if let Ok(expression) = promql_parser::parser::parse(query) {
        walk(&expression, &mut found);
    }
    found
}

fn walk(expression: &Expr, found: &mut BTreeMap<String, Duration>) {
    let mut note = |selector: &VectorSelector, range: Duration| {
        let plain = VectorSelector { offset: None, at: None, ..selector.clone() };
        let widest = found.entry(plain.to_string()).or_default();
        *widest = range.max(*widest);
    };
    match expression {
        Expr::VectorSelector(selector) => note(selector, Duration::ZERO),
        Expr::MatrixSelector(MatrixSelector { vs, range }) => note(vs, *range),
        Expr::Aggregate(aggregate) => walk(&aggregate.expr, found),
        Expr::Unary(unary) => walk(&unary.expr, found),
        Expr::Binary(binary) => {
            walk(&binary.lhs, found);
            walk(&binary.rhs, found);
        }
        Expr::Paren(paren) => walk(&paren.expr, found),
        Expr::Subquery(subquery) => walk(&subquery.expr, found),
        // What is not there is what they ask for.
        Expr::Call(call) if call.func.name.starts_with("absent") => {}
        Expr::Call(call) => call.args.args.iter().for_each(|argument| walk(argument, found)),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_rests_on_its_selectors() {
        let of = |query: &str| {
            selectors(query).into_iter().map(|(selector, range)| (selector, range.as_secs())).collect::<Vec<_>>()
        };
        assert_eq!(
            of("sum(rate(a{x=\"1\"}[5m] offset 1h)) / sum(rate(a{x=\"1\"}[1h])) > bool -b"),
            [("a{x=\"1\"}".to_owned(), 3600), ("b".to_owned(), 0)]
        );
        assert_eq!(of("absent(a) or vector(1)"), []);
        assert_eq!(of("histogram_quantile(0.9, sum by (le) (rate(h[1m])))"), [("h".to_owned(), 60)]);
        assert_eq!(of("not a query ("), []);
    }
}
