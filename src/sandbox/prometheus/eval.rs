//! Evaluates PromQL at one time or over a range of times. Parsing and checking types is the parser's; what is not known
//! here is refused with its name.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use promql_parser::label::{MatchOp, Matchers};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{Call, Expr, MatrixSelector, Offset, VectorSelector, parse};

use super::range;
use super::series::{Source, is_end};
use super::vectors;

/// How long a sample counts when no newer one comes, milliseconds.
const LOOKBACK: i64 = 300_000;
/// Prometheus gives no more points of a series.
const MOST_POINTS: i64 = 11_000;

/// A series' labels, `__name__` among them.
pub type Labels = BTreeMap<String, String>;

/// Why a query has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is wrong, or the sandbox does not know something in it.
    BadData(String),
    /// It cannot be carried out on what there is.
    Execution(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadData(text) => write!(f, "bad_data: {text}"),
            Self::Execution(text) => write!(f, "execution: {text}"),
        }
    }
}

/// One element of a vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// Of a selector's element, when it was scraped; else the time of the question. Milliseconds since 1970.
    pub time: i64,
}

/// What an expression comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Scalar(f64),
    /// A text.
    Text(String),
    /// Elements.
    Vector(Vec<Sample>),
    /// Series, each with its samples.
    Matrix(Vec<(Labels, Vec<(i64, f64)>)>),
}

/// A query that can be read.
#[derive(Debug)]
pub struct Query {
    expression: Expr,
}

/// Refuses what the sandbox does not know.
pub(super) fn unknown(what: impl fmt::Display) -> Fault {
    Fault::BadData(format!("the sandbox's Prometheus does not know {what}"))
}

pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

impl Query {
    /// Parses.
    ///
    /// # Errors
    /// It is not PromQL.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        match parse(text) {
            Ok(expression) => Ok(Self { expression }),
            Err(why) => Err(Fault::BadData(format!("invalid parameter \"query\": parse error: {why}"))),
        }
    }

    /// Its value at a time, milliseconds since 1970.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn at(&self, source: &dyn Source, time: i64) -> Result<Value, Fault> {
        let scene = Scene { source, time };
        match scene.plain(&self.expression) {
            Expr::MatrixSelector(selector) => Ok(Value::Matrix(scene.matrix(selector)?)),
            expression => scene.eval(expression),
        }
    }

    /// Its values at `from`, `from + step` … up to `to`, milliseconds since 1970.
    ///
    /// # Errors
    /// [`Fault`]; the times make no range; it has another value than numbers.
    pub fn over(&self, source: &dyn Source, from: i64, to: i64, step: i64) -> Result<Value, Fault> {
        let bad = |text: &str| Err(Fault::BadData(text.to_owned()));
        if to < from {
            return bad("invalid parameter \"end\": end timestamp must not be before start time");
        }
        if step <= 0 {
            return bad(
                "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a \
                 positive integer",
            );
        }
        if (to - from) / step > MOST_POINTS {
            return bad(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution \
                 (?step=XX)",
            );
        }
        let kind = self.expression.value_type();
        if !matches!(kind, ValueType::Scalar | ValueType::Vector) {
            let kind = if kind == ValueType::Matrix { "range vector" } else { "string" };
            let text = format!("invalid expression type \"{kind}\" for range query, must be Scalar or instant Vector");
            return Err(Fault::BadData(format!("invalid parameter \"query\": {text}")));
        }
        let mut series: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
        let mut time = from;
        while time <= to {
            let elements = match (Scene { source, time }).eval(&self.expression)? {
                Value::Scalar(value) => vec![Sample { labels: Labels::new(), value, time }],
                Value::Vector(elements) => elements,
                Value::Text(_) | Value::Matrix(_) => Vec::new(),
            };
            for Sample { labels, value, .. } in elements {
                series.entry(labels).or_default().push((time, value));
            }
            time = time.saturating_add(step);
        }
        Ok(Value::Matrix(series.into_iter().collect()))
    }
}

/// One time of a question.
pub(super) struct Scene<'a> {
    source: &'a dyn Source,
    pub(super) time: i64,
}

impl Scene<'_> {
    /// An expression without parentheses around it.
    pub(super) fn plain<'e>(&self, mut expression: &'e Expr) -> &'e Expr {
        while let Expr::Paren(paren) = expression {
            expression = &paren.expr;
        }
        expression
    }

    pub(super) fn eval(&self, expression: &Expr) -> Result<Value, Fault> {
        match expression {
            Expr::NumberLiteral(number) => Ok(Value::Scalar(number.val)),
            Expr::StringLiteral(text) => Ok(Value::Text(text.val.clone())),
            Expr::Paren(paren) => self.eval(&paren.expr),
            Expr::Unary(unary) => Ok(match self.eval(&unary.expr)? {
                Value::Scalar(value) => Value::Scalar(-value),
                Value::Vector(elements) => Value::Vector(self.each(elements, |value| -value)?),
                other => other,
            }),
            Expr::VectorSelector(selector) => Ok(Value::Vector(self.instant(selector)?)),
            Expr::Aggregate(aggregate) => {
                let Value::Vector(elements) = self.eval(&aggregate.expr)? else {
                    return Err(Fault::Execution("only a vector can be aggregated".to_owned()));
                };
                vectors::aggregate(aggregate, elements, self.time).map(Value::Vector)
            }
            Expr::Binary(binary) => {
                let (left, right) = (self.eval(&binary.lhs)?, self.eval(&binary.rhs)?);
                vectors::binary(binary, left, right, self.time)
            }
            Expr::Call(call) => self.call(call),
            Expr::MatrixSelector(_) => Err(Fault::BadData("a range vector where there must be none".to_owned())),
            Expr::Subquery(_) => Err(unknown("subqueries")),
            Expr::Extension(_) => Err(unknown("extensions")),
        }
    }

    /// What the selector asks for as plain matchers, and the time that it asks for.
    fn asked(&self, selector: &VectorSelector) -> Result<(Matchers, i64), Fault> {
        if selector.at.is_some() {
            return Err(unknown("the modifier `@`"));
        }
        let back = match &selector.offset {
            None => 0,
            Some(Offset::Pos(by)) => milliseconds(*by),
            Some(Offset::Neg(by)) => -milliseconds(*by),
        };
        let mut matchers = selector.matchers.clone();
        if let Some(name) = &selector.name {
            matchers.matchers.push(promql_parser::label::Matcher::new(MatchOp::Equal, "__name__", name));
        }
        Ok((matchers, self.time.saturating_sub(back)))
    }

    fn instant(&self, selector: &VectorSelector) -> Result<Vec<Sample>, Fault> {
        let (matchers, time) = self.asked(selector)?;
        let found = self.source.select(&matchers, time.saturating_sub(LOOKBACK), time).into_iter();
        let last = |(labels, samples): (Labels, Vec<(i64, f64)>)| {
            let (time, value) = samples.last().copied().filter(|(_, value)| !is_end(*value))?;
            Some(Sample { labels, value, time })
        };
        Ok(found.filter_map(last).collect())
    }

    #[expect(clippy::type_complexity, reason = "a series' labels and its points")]
    fn matrix(&self, selector: &MatrixSelector) -> Result<Vec<(Labels, Vec<(i64, f64)>)>, Fault> {
        let (matchers, time) = self.asked(&selector.vs)?;
        let after = time.saturating_sub(milliseconds(selector.range));
        let mut found = self.source.select(&matchers, after, time);
        for (_, samples) in &mut found {
            samples.retain(|(_, value)| !is_end(*value));
        }
        found.retain(|(_, samples)| !samples.is_empty());
        Ok(found)
    }

    /// A vector with another value for each, without names.
    fn each(&self, elements: Vec<Sample>, f: impl Fn(f64) -> f64) -> Result<Vec<Sample>, Fault> {
        let of = |Sample { labels, value, .. }| Sample { labels: nameless(labels), value: f(value), time: self.time };
        distinct(elements.into_iter().map(of).collect())
    }

    fn call(&self, call: &Call) -> Result<Value, Fault> {
        let name = call.func.name;
        let argument = |n: usize| {
            let argument = call.args.args.get(n);
            argument.ok_or_else(|| Fault::BadData(format!("{name} has too few arguments")))
        };
        let scalar = |n: usize| -> Result<f64, Fault> {
            match self.eval(argument(n)?)? {
                Value::Scalar(value) => Ok(value),
                _ => Err(Fault::BadData(format!("argument {} of {name} must be a scalar", n + 1))),
            }
        };
        let vector = |n: usize| -> Result<Vec<Sample>, Fault> {
            match self.eval(argument(n)?)? {
                Value::Vector(elements) => Ok(elements),
                _ => Err(Fault::BadData(format!("argument {} of {name} must be an instant vector", n + 1))),
            }
        };
        if let Some(function) = range::Function::named(name) {
            let Expr::MatrixSelector(selector) = self.plain(argument(0)?) else {
                return Err(unknown(format!("{name} over anything but a selector with a range")));
            };
            let (_, end) = self.asked(&selector.vs)?;
            let span = (end.saturating_sub(milliseconds(selector.range)), end);
            let mut found = Vec::new();
            for (labels, samples) in self.matrix(selector)? {
                if let Some(value) = function.of(&samples, span) {
                    let labels = if function.keeps_name() { labels } else { nameless(labels) };
                    found.push(Sample { labels, value, time: self.time });
                }
            }
            return distinct(found).map(Value::Vector);
        }
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
        let seconds = |time: i64| time as f64 / 1000.0;
        let plain: Option<fn(f64) -> f64> = match name {
            "abs" => Some(f64::abs),
            "ceil" => Some(f64::ceil),
            "floor" => Some(f64::floor),
            "exp" => Some(f64::exp),
            "ln" => Some(f64::ln),
            "log2" => Some(f64::log2),
            "log10" => Some(f64::log10),
            "sqrt" => Some(f64::sqrt),
            _ => None,
        };
        if let Some(f) = plain {
            return self.each(vector(0)?, f).map(Value::Vector);
        }
        Ok(match name {
            "time" => Value::Scalar(seconds(self.time)),
            "vector" => Value::Vector(vec![Sample { labels: Labels::new(), value: scalar(0)?, time: self.time }]),
            "scalar" => match vector(0)?.as_slice() {
                [one] => Value::Scalar(one.value),
                _ => Value::Scalar(f64::NAN),
            },
            "clamp_min" | "clamp_max" | "clamp" => {
                let (low, high) = match name {
                    "clamp_min" => (scalar(1)?, f64::INFINITY),
                    "clamp_max" => (f64::NEG_INFINITY, scalar(1)?),
                    _ => (scalar(1)?, scalar(2)?),
                };
                if low > high {
                    return Ok(Value::Vector(Vec::new()));
                }
                let clamp = |value: f64| if value.is_nan() { value } else { value.max(low).min(high) };
                Value::Vector(self.each(vector(0)?, clamp)?)
            }
            "timestamp" => {
                let times = vector(0)?.into_iter().map(|one| Sample { value: seconds(one.time), ..one }).collect();
                Value::Vector(self.each(times, |value| value)?)
            }
            "absent" => {
                let there = vector(0)?;
                let labels = match self.plain(argument(0)?) {
                    Expr::VectorSelector(selector) => told_by(&selector.matchers),
                    _ => Labels::new(),
                };
                let absent = Sample { labels, value: 1.0, time: self.time };
                Value::Vector(if there.is_empty() { vec![absent] } else { Vec::new() })
            }
            "histogram_quantile" => Value::Vector(distinct(range::quantiles(scalar(0)?, vector(1)?, self.time))?),
            other => return Err(unknown(format!("the function {other}"))),
        })
    }
}

/// The labels that matchers say by `=`, each once.
fn told_by(matchers: &Matchers) -> Labels {
    let mut labels = Labels::new();
    let mut twice = Vec::new();
    for matcher in matchers.matchers.iter().filter(|m| m.name != "__name__") {
        let value = match matcher.op {
            MatchOp::Equal => matcher.value.clone(),
            _ => continue,
        };
        if labels.insert(matcher.name.clone(), value).is_some() {
            twice.push(matcher.name.clone());
        }
    }
    labels.retain(|name, _| !twice.contains(name));
    labels
}

/// Labels without the metric's name.
pub(super) fn nameless(mut labels: Labels) -> Labels {
    labels.remove("__name__");
    labels
}

/// Refuses a vector that has one set of labels twice.
pub(super) fn distinct(mut elements: Vec<Sample>) -> Result<Vec<Sample>, Fault> {
    elements.sort_by(|a, b| a.labels.cmp(&b.labels));
    let twice = elements.windows(2).any(|pair| matches!(pair, [a, b] if a.labels == b.labels));
    if twice {
        return Err(Fault::Execution("vector cannot contain metrics with the same labelset".to_owned()));
    }
    Ok(elements)
}
