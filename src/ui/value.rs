//! A value of the language as `terraform console` prints one: an expression that gives the value again.

use std::fmt::Write as _;

use crate::diag::is_unsafe;
use crate::expr::Value;

/// A value over as many lines as it takes.
///
/// A text that ends with a newline stands as a heredoc, but only by itself: within a list or an object, a heredoc's end
/// would need a line of its own before the comma, and its indentation would become part of the text. Any other text is
/// on one line, in quotes.
pub fn value(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::String(text) if text.len() > 1 && text.ends_with('\n') && is_plain(text) => heredoc(&mut out, text),
        other => write(&mut out, other, 0),
    }
    out.push('\n');
    out
}

/// True when a heredoc can hold it as it is.
fn is_plain(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '\n' | '\t') || !is_unsafe(c))
}

fn heredoc(out: &mut String, text: &str) {
    let mut word = "EOT".to_owned();
    while text.lines().any(|line| line.trim_start().starts_with(&word)) {
        word.push('_');
    }
    let text = text.replace("${", "$${").replace("%{", "%%{");
    let _ = write!(out, "<<{word}\n{text}{word}");
}

fn write(out: &mut String, value: &Value, depth: usize) {
    let indent = |out: &mut String, depth: usize| out.extend(std::iter::repeat_n("  ", depth));
    match value {
        Value::List(items) if !items.is_empty() => {
            out.push_str("[\n");
            for item in items.iter() {
                indent(out, depth + 1);
                write(out, item, depth + 1);
                out.push_str(",\n");
            }
            indent(out, depth);
            out.push(']');
        }
        Value::Set(items) if !items.is_empty() => {
            out.push_str("toset(");
            write(out, &Value::list(items.iter().cloned()), depth);
            out.push(')');
        }
        Value::Object(entries) if !entries.is_empty() => {
            out.push_str("{\n");
            for (key, item) in entries.iter() {
                indent(out, depth + 1);
                let _ = write!(out, "{} = ", Value::from(key.as_str()));
                write(out, item, depth + 1);
                out.push('\n');
            }
            indent(out, depth);
            out.push('}');
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Answer, VariableInputs, eval};

    #[test]
    fn values_stand_over_lines_as_in_terraforms_console() {
        let inner =
            Value::object([("b", Value::list([1u64.into(), "x\ny\n".into()])), ("c d", Value::set(["k".into()]))]);
        assert_eq!(
            value(&Value::object([("a", inner), ("e", Value::object::<String>([])), ("f", Value::list([]))])),
            "{\n  \"a\" = {\n    \"b\" = [\n      1,\n      \"x\\ny\\n\",\n    ]\n    \"c d\" = toset([\n      \"k\",\n    ])\n  }\n  \
             \"e\" = {}\n  \"f\" = []\n}\n"
        );
        assert_eq!(value(&Value::set([])), "toset([])\n");
        assert_eq!(value(&Value::Null), "null\n");
        assert_eq!(value(&"a\nb\n".into()), "<<EOT\na\nb\nEOT\n");
        assert_eq!(value(&"a\n  EOT1\n${x}\n".into()), "<<EOT_\na\n  EOT1\n$${x}\nEOT_\n");
        assert_eq!(value(&"a\nb".into()), "\"a\\nb\"\n", "a heredoc would add a newline");
        assert_eq!(value(&"\u{1b}[2J\n".into()), "\"\\u001b[2J\\n\"\n");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["[ -~é\\n\\t]{0,12}", "([ -~]{0,6}\\n){1,4}", Just("EOT\n".to_owned())];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9).prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map(text.clone(), inner.clone(), 0..5).prop_map(Value::from),
                // A set's elements have one type.
                proptest::collection::vec(text.clone(), 0..5)
                    .prop_map(|items| Value::set(items.into_iter().map(Value::from))),
                proptest::collection::vec(any::<i64>(), 0..5)
                    .prop_map(|items| Value::set(items.into_iter().map(Value::from))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_gives_the_value_again(shown in any_value()) {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let folder = Utf8Path::from_path(folder.path()).expect("UTF-8");
            let text = value(&shown);
            let found = eval(folder, &VariableInputs::default(), "x", &text);
            prop_assert_eq!(found.answer, Some(Answer::Value(shown)), "{}\n{:?}", text, found.diagnostics);
        }
    }
}
