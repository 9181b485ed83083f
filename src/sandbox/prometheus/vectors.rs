//! Aggregation, and operators between numbers and vectors: who meets whom, and which labels are left.

use std::collections::BTreeMap;

use promql_parser::parser::{AggregateExpr, BinModifier, BinaryExpr, LabelModifier, VectorMatchCardinality};

use super::eval::{Fault, Labels, Sample, Value, distinct, nameless, unknown};

/// The labels that a modifier leaves; none: all but the name.
fn kept(labels: &Labels, modifier: Option<&LabelModifier>) -> Labels {
    match modifier {
        Some(LabelModifier::Include(list)) => {
            labels.iter().filter(|(name, _)| list.labels.contains(name)).map(owned).collect()
        }
        Some(LabelModifier::Exclude(list)) => {
            let gone = |name: &String| list.labels.contains(name) || name == "__name__";
            labels.iter().filter(|(name, _)| !gone(name)).map(owned).collect()
        }
        None => nameless(labels.clone()),
    }
}

fn owned((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

/// Aggregates elements by their labels.
pub(super) fn aggregate(expression: &AggregateExpr, elements: Vec<Sample>, time: i64) -> Result<Vec<Sample>, Fault> {
    let operator = expression.op.to_string();
    let nothing = LabelModifier::Include(promql_parser::label::Labels { labels: Vec::new() });
    let modifier = expression.modifier.as_ref().unwrap_or(&nothing);
    let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    for Sample { labels, value, .. } in elements {
        groups.entry(kept(&labels, Some(modifier))).or_default().push(value);
    }
    let number = |a: f64, b: f64, better: bool| if a.is_nan() || better { b } else { a };
    #[expect(clippy::cast_precision_loss, reason = "a count of elements")]
    let count = |values: &[f64]| values.len() as f64;
    let of = |values: &[f64]| -> Result<f64, Fault> {
        Ok(match operator.as_str() {
            "sum" => values.iter().sum(),
            "avg" => values.iter().sum::<f64>() / count(values),
            "min" => values.iter().fold(f64::NAN, |a, b| number(a, *b, *b < a)),
            "max" => values.iter().fold(f64::NAN, |a, b| number(a, *b, *b > a)),
            "count" => count(values),
            "group" => 1.0,
            other => return Err(unknown(format!("the aggregation {other}"))),
        })
    };
    // Refused whether or not there is anything to aggregate.
    of(&[0.0])?;
    groups.into_iter().map(|(labels, values)| Ok(Sample { labels, value: of(&values)?, time })).collect()
}

/// What an operator does with two numbers.
enum Operation {
    /// Makes another.
    Arithmetic(f64),
    /// Compares them.
    Comparison(bool),
}

fn operation(operator: &str, a: f64, b: f64) -> Result<Operation, Fault> {
    use Operation::{Arithmetic, Comparison};
    Ok(match operator {
        "+" => Arithmetic(a + b),
        "-" => Arithmetic(a - b),
        "*" => Arithmetic(a * b),
        "/" => Arithmetic(a / b),
        "%" => Arithmetic(a % b),
        "^" => Arithmetic(a.powf(b)),
        "==" => Comparison(a == b),
        "!=" => Comparison(a != b),
        ">" => Comparison(a > b),
        "<" => Comparison(a < b),
        ">=" => Comparison(a >= b),
        "<=" => Comparison(a <= b),
        other => return Err(unknown(format!("the operator {other}"))),
    })
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

/// Applies an operator.
pub(super) fn binary(expression: &BinaryExpr, left: Value, right: Value, time: i64) -> Result<Value, Fault> {
    let operator = expression.op.to_string();
    let as_number = expression.return_bool();
    match (left, right) {
        (Value::Scalar(a), Value::Scalar(b)) => Ok(Value::Scalar(match operation(&operator, a, b)? {
            Operation::Arithmetic(value) => value,
            Operation::Comparison(holds) => truth(holds),
        })),
        (Value::Vector(elements), Value::Scalar(number)) => {
            with_scalar(&operator, as_number, elements, |value| (value, number), time)
        }
        (Value::Scalar(number), Value::Vector(elements)) => {
            with_scalar(&operator, as_number, elements, |value| (number, value), time)
        }
        (Value::Vector(left), Value::Vector(right)) => {
            let plain = BinModifier::default();
            let modifier = expression.modifier.as_ref().unwrap_or(&plain);
            if matches!(operator.as_str(), "and" | "or" | "unless") {
                return Ok(Value::Vector(set(&operator, modifier, left, right)));
            }
            pairs(&operator, modifier, left, right, time)
        }
        _ => Err(Fault::Execution(format!("the operator {operator} takes numbers and instant vectors"))),
    }
}

fn with_scalar(
    operator: &str,
    as_number: bool,
    elements: Vec<Sample>,
    sides: impl Fn(f64) -> (f64, f64),
    time: i64,
) -> Result<Value, Fault> {
    let mut found = Vec::new();
    for element in elements {
        let (a, b) = sides(element.value);
        match operation(operator, a, b)? {
            Operation::Arithmetic(value) => found.push(Sample { labels: nameless(element.labels), value, time }),
            Operation::Comparison(holds) if as_number => {
                found.push(Sample { labels: nameless(element.labels), value: truth(holds), time });
            }
            Operation::Comparison(true) => found.push(Sample { time, ..element }),
            Operation::Comparison(false) => {}
        }
    }
    distinct(found).map(Value::Vector)
}

/// `and`, `or`, `unless`.
fn set(operator: &str, modifier: &BinModifier, left: Vec<Sample>, right: Vec<Sample>) -> Vec<Sample> {
    let key = |element: &Sample| kept(&element.labels, modifier.matching.as_ref());
    let keys = |elements: &[Sample]| elements.iter().map(key).collect::<std::collections::BTreeSet<_>>();
    let (of_left, of_right) = (keys(&left), keys(&right));
    match operator {
        "and" => left.into_iter().filter(|element| of_right.contains(&key(element))).collect(),
        "unless" => left.into_iter().filter(|element| !of_right.contains(&key(element))).collect(),
        _ => {
            let others = right.into_iter().filter(|element| !of_left.contains(&key(element)));
            left.into_iter().chain(others.collect::<Vec<_>>()).collect()
        }
    }
}

/// An operator between two vectors: each element of the one side meets at most one of the other.
fn pairs(
    operator: &str,
    modifier: &BinModifier,
    left: Vec<Sample>,
    right: Vec<Sample>,
    time: i64,
) -> Result<Value, Fault> {
    if !matches!(modifier.card, VectorMatchCardinality::OneToOne) {
        return Err(unknown("group_left and group_right"));
    }
    if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
        return Err(unknown("fill values"));
    }
    let matching = modifier.matching.as_ref();
    let twice = |side: &str| {
        Fault::Execution(format!(
            "found duplicate series for the match group on the {side} hand-side of the operation;many-to-many matching \
             not allowed: matching labels must be unique on one side"
        ))
    };
    let mut others: BTreeMap<Labels, Sample> = BTreeMap::new();
    for element in right {
        if others.insert(kept(&element.labels, matching), element).is_some() {
            return Err(twice("right"));
        }
    }
    let mut met = std::collections::BTreeSet::new();
    let mut found = Vec::new();
    for element in left {
        let key = kept(&element.labels, matching);
        let Some(other) = others.get(&key) else { continue };
        if !met.insert(key.clone()) {
            return Err(twice("left"));
        }
        match operation(operator, element.value, other.value)? {
            Operation::Arithmetic(value) => found.push(Sample { labels: key, value, time }),
            Operation::Comparison(holds) if modifier.return_bool => {
                found.push(Sample { labels: key, value: truth(holds), time });
            }
            Operation::Comparison(true) => {
                // A comparison leaves the metric what it is.
                let name = element.labels.get("__name__").filter(|_| !modifier.is_matching_on());
                let labels = key.into_iter().chain(name.map(|name| ("__name__".to_owned(), name.clone()))).collect();
                found.push(Sample { labels, value: element.value, time });
            }
            Operation::Comparison(false) => {}
        }
    }
    distinct(found).map(Value::Vector)
}
