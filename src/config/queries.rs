//! Gates, as far as they can be checked without a Prometheus: what each asks, by which bound it is judged, and whether
//! its query is one.

use promql_parser::parser::{self, value::ValueType};

use super::build::Builder;
use super::check::Fields;
use super::scope::Inner;
use super::syntax::Block;
use crate::diag::{Diagnostic, Span};
use crate::expr::Value;

/// What stands for `target.selector` while a query is checked: as the `metrics` of a storage come out.
const SELECTOR: &str = "instance=\"gitaly:9236\"";
/// Longest query, in bytes. Prometheus itself refuses what makes its URL too long; the parser's time grows with it.
const LONGEST: usize = 16_384;
/// Deepest nesting of brackets in a query.
const DEEPEST: usize = 64;

impl Builder<'_> {
    /// Checks one instance of a gate: it asks something and has a bound for the answer, or it waits for a person.
    pub(super) fn question(&mut self, block: &Block, fields: &Fields, each: Option<&Value>) {
        let written = |name: &str| block.body.attribute(name);
        let place = |name: &str| written(name).map_or(block.header, |a| a.name_span);
        let mut wrong = |detail: String, at: Span, help: &str| {
            self.out.push(Diagnostic::error("config/gate", "Gate that cannot judge").detail(detail).at(at).help(help));
        };
        let approval = fields.flag("approval") == Some(true);
        if approval == written("query").is_some() {
            let detail = "A gate has either a `query` or `approval = true`.".to_owned();
            wrong(detail, block.header, "Keep one of them.");
            return;
        }
        if approval {
            let idle = ["max", "min", "for", "baseline", "max_ratio"].into_iter().find(|name| written(name).is_some());
            if let Some(name) = idle {
                let detail = format!("A person's approval has no answer that `{name}` could judge.");
                wrong(detail, place(name), "Remove it, or ask with a `query`.");
            }
            return;
        }
        let (baseline, ratio) = (written("baseline").is_some(), written("max_ratio").is_some());
        if baseline != ratio {
            let (has, lacks) = if baseline { ("baseline", "max_ratio") } else { ("max_ratio", "baseline") };
            let detail = format!("`{has}` says nothing without `{lacks}`: the answer over the baseline's is compared.");
            wrong(detail, place(has), "For example: baseline = storage.default, max_ratio = 1.2");
        } else if !baseline && written("max").is_none() && written("min").is_none() {
            let detail =
                "Nothing says which answer of the `query` is good: there is no `max`, no `min` and no `baseline`.";
            wrong(detail.to_owned(), block.header, "For example: max = 0.5");
        }
        let bound = |name: &str| match &fields.get(name)?.value {
            Value::Number(number) => Some(*number),
            _ => None,
        };
        if let (Some(min), Some(max)) = (bound("min"), bound("max"))
            && min > max
        {
            let detail = format!("No answer is at least {min} and at most {max}.");
            wrong(detail, place("min"), "Exchange `min` and `max`.");
        }
        self.query(block, each);
    }

    /// Checks that a query is PromQL and asks for numbers at one time.
    fn query(&mut self, block: &Block, each: Option<&Value>) {
        let Some(written) = block.body.attribute("query") else { return };
        let target = Value::object([("selector", Value::from(SELECTOR)), ("name", Value::from("gitaly"))]);
        let extra = each.map(|e| ("each", e.clone())).into_iter().chain([("target", target)]);
        let names = Inner { scope: self.scope, extra: extra.collect() };
        let Some(Value::String(text)) = names.evaluate(&written.value, self.out) else { return };
        if let Err(problem) = promql(&text) {
            let text = if text.chars().count() > 200 { text.chars().take(200).chain(['…']).collect() } else { text };
            let fault = Diagnostic::error("config/promql", "Not a query that Prometheus answers")
                .detail(format!("{problem}\nThe query, with an example of a selector: {text}"))
                .at(written.value.span)
                .help("Try it in Prometheus; in a text of the configuration, a quote is written \\\" and a backslash \\\\.");
            self.out.push(names.safe(&written.value, fault));
        }
    }
}

/// Reads a query.
///
/// # Errors
/// What is wrong, as a sentence.
pub(super) fn promql(text: &str) -> Result<(), String> {
    if text.len() > LONGEST {
        return Err(format!("It has {} bytes; at most {LONGEST} can be asked.", text.len()));
    }
    // The parser's tree is dropped by recursion.
    let mut depth = 0usize;
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(format!("Its brackets nest deeper than {DEEPEST} levels."));
        }
    }
    let sentence = |text: &str| {
        let mut chars = text.trim().trim_end_matches('.').chars();
        chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).chain(['.']).collect())
    };
    let parsed = parser::parse(text).map_err(|problem| sentence(&problem))?;
    match parsed.value_type() {
        ValueType::Vector | ValueType::Scalar => Ok(()),
        ValueType::Matrix => Err("It gives a range of samples, and a gate asks for numbers at one time.".to_owned()),
        ValueType::String => Err("It gives a text, and a gate asks for numbers.".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_prometheus_answers_is_taken_and_nothing_else() {
        for good in [
            "up",
            "1",
            "sum(rate(grpc_server_handled_total{instance=\"a\",grpc_code!~\"OK|NotFound\"}[5m])) / 2 > bool 0.5",
            "histogram_quantile(0.95, sum by (le) (rate(x_bucket[5m])))",
            "max_over_time(up[1h:5m] offset 1d) or vector(0)",
        ] {
            assert_eq!(promql(good), Ok(()), "{good}");
        }
        for bad in ["", "sum(", "sum(up))", "rate(up)", "up[5m]", "\"text\"", "up{a=~\"(\"}", "nosuch(up)"] {
            let problem = promql(bad).expect_err(bad);
            assert!(problem.ends_with('.') && problem.len() > 5, "{bad}: {problem}");
        }
        for deep in ["(".repeat(100_000), "-".repeat(100_000), "sum(".repeat(4_000), "up+".repeat(5_000) + "up"] {
            let _ = promql(&deep);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[a-z(){}\\[\\]\",=~!0-9.:+*/ @^-]{0,60}", any in "\\PC{0,40}") {
            let _ = promql(&text);
            let _ = promql(&any);
        }
    }
}
