//! The evaluator against known results and against the parser library's own evaluator.

mod generate;
mod terraform;
mod wanted;

use proptest::prelude::*;

use super::scope::Scope;
use super::syntax::parse_expression;
use crate::diag::SourceId;
use crate::expr::{Field, FieldValue, Predicate, Row, Truth, Value, evaluate, functions};
use std::collections::BTreeMap;
use terraform::Answer;
use wanted::Case;

fn value(text: &str) -> Result<Value, String> {
    let names: BTreeMap<String, Value> = [
        ("list".to_owned(), Value::list([Value::from(3u64), Value::from(1u64)])),
        (
            "object".to_owned(),
            Value::object([
                ("b", Value::object([("x", Value::from(1u64))])),
                ("a", Value::object([("x", Value::from(2u64))])),
            ]),
        ),
    ]
    .into();
    let node = parse_expression(SourceId(0), text).map_err(|d| d.to_string())?;
    evaluate(&node, &names).map_err(|d| d.to_string())
}

#[test]
fn functions_and_forms_give_what_terraform_gives() {
    for (text, expected) in [
        ("abs(-5.5)", "5.5"),
        ("ceil(1.1)", "2"),
        ("floor(-1.1)", "-2"),
        ("max(1, 3, 2)", "3"),
        ("min([1, 3, 2]...)", "1"),
        ("pow(2, 10)", "1024"),
        ("pow(4, 0.5)", "2"),
        ("signum(-3)", "-1"),
        ("parseint(\"ff\", 16)", "255"),
        ("chomp(\"a\\r\\n\\n\")", "\"a\""),
        (
            "format(\"%s-%03d|%-4s|%.2f|%v|%q|%x\", \"a\", 7, \"b\", 1.005, [1], \"q\", 255)",
            r#""a-007|b   |1.00|[1]|\"q\"|ff""#,
        ),
        ("formatlist(\"%s=%s\", [\"a\", \"b\"], \"x\")", r#"["a=x", "b=x"]"#),
        ("join(\",\", [\"a\", \"b\"], [\"c\"])", "\"a,b,c\""),
        ("replace(\"a.b.c\", \".\", \"-\")", "\"a-b-c\""),
        ("replace(\"hello\", \"/l+/\", \"L\")", "\"heLo\""),
        ("split(\",\", \"a,b\")", r#"["a", "b"]"#),
        ("substr(\"hello\", 1, 3)", "\"ell\""),
        ("substr(\"hello\", -3, -1)", "\"llo\""),
        ("length(\"e\\u0301👨‍👩‍👧\")", "2"),
        ("strrev(\"ae\\u0301\")", "\"éa\""),
        ("title(\"hello big world\")", "\"Hello Big World\""),
        ("trim(\"?!hi?!\", \"!?\")", "\"hi\""),
        ("trimprefix(\"helloworld\", \"hello\")", "\"world\""),
        ("trimspace(\" a \")", "\"a\""),
        ("regex(\"[a-z]+\", \"12ab\")", "\"ab\""),
        ("regex(\"(\\\\d)(\\\\d)\", \"12\")", r#"["1", "2"]"#),
        ("regex(\"(?P<x>\\\\d)\", \"1\").x", "\"1\""),
        ("regexall(\"\\\\d\", \"1a2\")", r#"["1", "2"]"#),
        ("alltrue([])", "true"),
        ("anytrue([false, true])", "true"),
        ("coalesce(null, \"\", \"a\")", "\"a\""),
        ("concat([1], [2, 3])", "[1, 2, 3]"),
        ("contains([\"a\"], \"a\")", "true"),
        ("distinct([2, 1, 2])", "[2, 1]"),
        ("element([\"a\", \"b\"], 3)", "\"b\""),
        ("flatten([[1, [2]], [], [3]])", "[1, 2, 3]"),
        ("keys({ b = 1, a = 2 })", r#"["a", "b"]"#),
        ("values({ b = 1, a = 2 })", "[2, 1]"),
        ("lookup({ a = 1 }, \"b\", 5)", "5"),
        ("merge({ a = 1, b = 1 }, { b = 2 })", r#"{ "a" = 1, "b" = 2 }"#),
        ("one([])", "null"),
        ("range(3)", "[0, 1, 2]"),
        ("range(1, 8, 3)", "[1, 4, 7]"),
        ("range(3, 0)", "[3, 2, 1]"),
        ("reverse([1, 2])", "[2, 1]"),
        ("setunion([1], [2, 1])", "toset([1, 2])"),
        ("setintersection([1, 2], [2])", "toset([2])"),
        ("setsubtract([1, 2], [2])", "toset([1])"),
        ("setproduct([\"a\", \"b\"], [1])", r#"[["a", 1], ["b", 1]]"#),
        ("slice([1, 2, 3], 1, 2)", "[2]"),
        ("sort([\"b\", \"a\"])", r#"["a", "b"]"#),
        ("sum([1, 2.5])", "3.5"),
        ("zipmap([\"a\"], [1])", r#"{ "a" = 1 }"#),
        ("toset([\"b\", \"a\", \"b\"])", r#"toset(["a", "b"])"#),
        ("tonumber(\"1.5\")", "1.5"),
        ("tostring(true)", "\"true\""),
        ("tobool(\"false\")", "false"),
        ("try(list[9], \"none\")", "\"none\""),
        ("can(list[9])", "false"),
        ("jsonencode({ a = [1, null, \"<\"] })", r#""{\"a\":[1,null,\"\\u003c\"]}""#),
        ("jsondecode(\"{\\\"a\\\": 1.0}\").a", "1"),
        ("base64encode(\"hi\")", "\"aGk=\""),
        ("base64decode(\"aGk=\")", "\"hi\""),
        ("sha256(\"\")", "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\""),
        ("timeadd(\"2026-01-31T23:30:00Z\", \"1h30m\")", "\"2026-02-01T01:00:00Z\""),
        ("timeadd(\"2026-01-31T23:30:00+01:00\", \"-30m\")", "\"2026-01-31T23:00:00+01:00\""),
        ("timecmp(\"2026-01-01T00:00:00Z\", \"2026-01-01T01:00:00+01:00\")", "0"),
        ("[for i, v in list : i + v]", "[3, 2]"),
        ("{ for k, v in object : v.x => k... }", r#"{ "1" = ["b"], "2" = ["a"] }"#),
        ("[for v in list : v if v > 1]", "[3]"),
        ("values(object)[*].x", "[2, 1]"),
        ("object.*.b.x", "[1]"),
        ("list.0", "3"),
        ("list[1]", "1"),
        ("\"x${1 + 1}y\"", "\"x2y\""),
        ("\"${list}\"", "[3, 1]"),
        ("\"%{ for v in list }<${v}>%{ endfor }\"", "\"<3><1>\""),
        ("\"a %{~ if true ~} b %{~ else ~} c %{~ endif ~} d\"", "\"abd\""),
        ("<<EOT\na\n  b\nEOT\n", "\"a\\n  b\\n\""),
        ("<<-EOT\n  a\n    b\n  EOT\n", "\"a\\n  b\\n\""),
        ("1 + 2 * 3 - 4 / 2", "5"),
        ("9223372036854775807 + 1", "9223372036854775808"),
        ("7 % -3", "1"),
        ("-(2)", "-2"),
        ("1 == 1.0", "true"),
        ("\"1\" == 1", "false"),
        ("!true || true && false", "false"),
        ("true ? 1 : 1 / 0", "1"),
        ("false && 1 / 0 == 1", "false"),
    ] {
        assert_eq!(value(text).map(|v| v.to_string()), Ok(expected.to_owned()), "{text}");
    }
}

struct Sample {
    path: Option<&'static str>,
    size: Option<u64>,
    archived: Option<bool>,
}

impl Row for Sample {
    fn field(&self, field: Field) -> FieldValue<'_> {
        match field {
            Field::Path => self.path.map_or(FieldValue::Unknown, FieldValue::Text),
            Field::Size => self.size.map_or(FieldValue::Unknown, FieldValue::Integer),
            Field::Archived => self.archived.map_or(FieldValue::Unknown, FieldValue::Bool),
            Field::Created => FieldValue::Time(1_700_000_000),
            _ => FieldValue::Unknown,
        }
    }
}

fn ask(text: &str, row: &Sample) -> Result<Truth, String> {
    let node = parse_expression(SourceId(0), text).expect(text);
    let names: BTreeMap<String, Value> = [("limit".to_owned(), Value::from(10u64))].into();
    let predicate = Predicate::compile(&node, &names).map_err(|d| d.to_string())?;
    predicate.test(row).map_err(|d| d.to_string())
}

#[test]
fn the_fast_forms_answer_as_the_evaluator_does() {
    let rows = [
        Sample { path: Some("web/shop"), size: Some(10), archived: Some(true) },
        Sample { path: Some("ops/x"), size: Some(11), archived: Some(false) },
        Sample { path: None, size: None, archived: None },
    ];
    for (text, expected) in [
        ("repository.size > limit", [Truth::False, Truth::True, Truth::Unknown]),
        ("10 <= repository.size", [Truth::True, Truth::True, Truth::Unknown]),
        ("repository.size != 10", [Truth::False, Truth::True, Truth::Unknown]),
        ("startswith(repository.path, \"web/\")", [Truth::True, Truth::False, Truth::Unknown]),
        ("!endswith(repository.path, \"shop\")", [Truth::False, Truth::True, Truth::Unknown]),
        ("strcontains(repository.path, \"s\")", [Truth::True, Truth::True, Truth::Unknown]),
        ("repository.path == \"ops/x\"", [Truth::False, Truth::True, Truth::Unknown]),
        ("contains([\"ops/x\", 1], repository.path)", [Truth::False, Truth::True, Truth::Unknown]),
        ("can(regex(\"^web/\", repository.path))", [Truth::True, Truth::False, Truth::Unknown]),
        ("repository.archived", [Truth::True, Truth::False, Truth::Unknown]),
        ("repository.archived == false", [Truth::False, Truth::True, Truth::Unknown]),
        ("repository.archived && false", [Truth::False, Truth::False, Truth::False]),
        ("repository.archived || true", [Truth::True, Truth::True, Truth::True]),
        ("false && repository.archived", [Truth::False, Truth::False, Truth::False]),
        ("repository.fork_network == 1 && repository.size > 10", [Truth::False, Truth::Unknown, Truth::Unknown]),
        ("repository.fork_network == 1 || repository.size > 10", [Truth::Unknown, Truth::True, Truth::Unknown]),
        ("timecmp(repository.created, \"2023-01-01T00:00:00Z\") > 0", [Truth::True, Truth::True, Truth::True]),
        ("true", [Truth::True, Truth::True, Truth::True]),
    ] {
        for (row, expected) in rows.iter().zip(expected) {
            assert_eq!(ask(text, row), Ok(expected), "{text}");
            // An identity that has no fast form of its own sends the same question through the evaluator.
            assert_eq!(ask(&format!("[{text}][0] ? true : false"), row), Ok(expected), "general: {text}");
        }
    }
    assert_eq!(ask("lower(repository.path) == \"web/shop\"", &rows[0]), Ok(Truth::True));
    assert_eq!(ask("limit == 0 ? repository.size / limit > 1 : true", &rows[0]), Ok(Truth::True));
    assert_eq!(ask("can(1 / 0) || repository.archived", &rows[0]), Ok(Truth::True));
    assert!(ask("100 / (repository.size - 10) > 1", &rows[0]).is_err());
    assert!(ask("[for repository in [1] : repository][0] == 1 && repository.archived", &rows[0]).is_ok());
}

#[test]
fn predicates_may_be_asked_from_many_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Predicate>();
    shared::<crate::expr::Expression>();
}

/// Expressions of numbers, texts, bools, lists and objects, without division and far from overflow, as the library's
/// evaluator panics at both. It has no functions.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![(0u32..1000).prop_map(|n| n.to_string()), (0u32..100).prop_map(|n| format!("{n}.5"))];
    let number = leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), prop_oneof![Just("+"), Just("-"), Just("*")], inner.clone())
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} - {b})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} > {b} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[for x in [{a}, {b}] : x + 1][1]")),
            inner.prop_map(|a| format!("{{ k = {a} }}.k")),
        ]
    });
    let compared = prop_oneof![Just("<"), Just("<="), Just("=="), Just("!="), Just(">"), Just(">=")];
    let truth = (number.clone(), compared, number.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")).boxed();
    let truth = truth.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), prop_oneof![Just("&&"), Just("||")], inner.clone())
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} ? {b} : false)")),
        ]
    });
    let word = "[a-z é]{0,4}".prop_map(|word| format!("\"{word}\""));
    let text = (word, truth.clone()).prop_flat_map(|(word, truth)| {
        let inner = word.trim_matches('"').to_owned();
        prop_oneof![
            Just(word.clone()),
            Just(format!("\"<${{{word}}}>\"")),
            Just(format!("\"%{{ if {truth} }}{inner}%{{ else }}-%{{ endif }}\"")),
            Just(format!("\"%{{ for x in [{word}, \"b\"] }}[${{x}}]%{{ endfor }}\"")),
            Just(format!("<<EOT\n{inner}${{{word}}}\nEOT")),
            Just(format!("({truth} ? {word} : \"no\")")),
        ]
    });
    let list = (number.clone(), number.clone(), truth.clone()).prop_flat_map(|(a, b, truth)| {
        prop_oneof![
            Just(format!("[for i, x in [{a}, {b}] : x + i if x > 100]")),
            Just(format!("[{{ v = {a} }}, {{ v = {b} }}][*].v")),
            Just(format!("{{ for k, v in {{ a = {a}, b = {b} }} : k => v if {truth} }}")),
            Just(format!("{{ for x in [\"p\", \"q\", \"p\"] : x => {a}... }}")),
            Just(format!("[[{a}], {{ k = {b} }}, {truth}, null]")),
        ]
    });
    prop_oneof![number, truth, text, list]
}

fn same(ours: &Value, theirs: &hcl::Value) -> bool {
    match (ours, theirs) {
        (Value::Null, hcl::Value::Null) => true,
        (Value::Bool(ours), hcl::Value::Bool(theirs)) => ours == theirs,
        (Value::Number(ours), hcl::Value::Number(theirs)) => {
            theirs.as_f64().is_some_and(|theirs| (ours.to_f64() - theirs).abs() <= theirs.abs() * 1e-9)
        }
        (Value::String(ours), hcl::Value::String(theirs)) => ours == theirs,
        (Value::List(ours), hcl::Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Value::Object(ours), hcl::Value::Object(theirs)) => {
            ours.len() == theirs.len() && ours.iter().all(|(k, v)| theirs.get(k).is_some_and(|theirs| same(v, theirs)))
        }
        _ => false,
    }
}

#[test]
fn expressions_are_what_the_librarys_evaluator_makes_of_them() {
    let counts = std::cell::RefCell::new(BTreeMap::<&str, u32>::new());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(2000));
    let outcome = runner.run(&expression(), |text| {
        let parsed: hcl::Expression = text.parse().expect("well formed");
        let theirs = hcl::eval::Evaluate::evaluate(&parsed, &hcl::eval::Context::new());
        let ours = value(&text);
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) if same(ours, theirs) => *counts.borrow_mut().entry(ours.kind()).or_default() += 1,
            _ => prop_assert!(false, "{text}\n{ours:?}\n{theirs:?}"),
        }
        Ok(())
    });
    assert!(outcome.is_ok(), "{outcome:?}");
    let counts = counts.into_inner();
    println!("{} expressions compared with hcl::eval: {counts:?}", counts.values().sum::<u32>());
    assert!(counts.len() >= 5, "of all kinds: {counts:?}");
}

/// Files that expressions read, beside both.
const FILES: &[(&str, &[u8])] = &[
    ("a.txt", b"hello\n"),
    ("folder/b.txt", "é ${x}".as_bytes()),
    ("t.tftpl", b"Hello ${name}!\n"),
    ("bad.tftpl", b"${name\n"),
    ("loop.tftpl", b"%{ for i in items ~}\n<${i}>\n%{ endfor ~}\nend\n"),
    ("latin1.txt", b"\xe9"),
];

#[test]
fn expressions_give_what_terraform_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = camino::Utf8Path::from_path(folder.path()).expect("UTF-8");
    std::fs::create_dir(root.join("folder")).expect("a folder");
    for (name, bytes) in FILES {
        std::fs::write(root.join(name), bytes).expect("writable");
    }
    let mut cases = generate::calls();
    cases.extend(generate::dialect());
    cases.extend(generate::drawn());
    cases.extend(generate::forms());
    let texts: Vec<&str> = cases.iter().map(|(_, text)| text.as_str()).collect();
    let Some(theirs) = terraform::answers(folder.path(), &texts) else {
        println!("SKIPPED: the comparison with Terraform: no terraform on PATH");
        return;
    };
    let scope = Scope::new(root);
    let mut excused = vec![0; wanted::TABLE.len()];
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut different, mut unknown) = (Vec::new(), 0);
    for ((function, text), theirs) in cases.iter().zip(&theirs) {
        if *theirs == Answer::Unknown {
            unknown += 1;
            continue;
        }
        *counts.entry(function).or_default() += 1;
        let ours = parse_expression(SourceId(0), &format!("jsonencode({text})"))
            .and_then(|node| evaluate(&node, &scope))
            .map(|value| value.as_str().unwrap_or_default().to_owned())
            .map_err(|d| d.to_string());
        let same = match (&ours, theirs) {
            (Ok(ours), Answer::Json(theirs)) => ours == theirs,
            (Err(_), Answer::Error) => true,
            _ => false,
        };
        let case = Case { function, text, ours: &ours, theirs };
        if !same {
            match wanted::TABLE.iter().position(|(_, applies)| applies(&case)) {
                Some(row) => excused[row] += 1,
                None => different.push(format!("{text}\n  terraform: {theirs:?}\n  tranship:  {ours:?}")),
            }
        }
    }
    let compared: usize = counts.values().sum();
    let least = counts.iter().min_by_key(|(_, n)| **n).expect("some");
    println!(
        "{compared} expressions compared with Terraform, {} functions, at least {} of one ({}), {} of the dialect of \
         regular expressions",
        counts.keys().filter(|name| !name.starts_with('(')).count(),
        least.1,
        least.0,
        counts.get(generate::PATTERNS_OF).copied().unwrap_or_default()
    );
    println!("{unknown} left out, which Terraform would know only after an apply");
    println!("{} differ as wanted:", excused.iter().sum::<usize>());
    for ((reason, _), count) in wanted::TABLE.iter().zip(&excused) {
        println!("{count:6}  {reason}");
    }
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
    for ((reason, _), count) in wanted::TABLE.iter().zip(&excused) {
        assert!(*count > 0, "no expression differs any more because {reason}");
    }
}

#[test]
fn every_function_is_compared_with_terraform() {
    let compared: Vec<&str> = generate::names().collect();
    for name in functions().keys() {
        // `type` is another than Terraform's, which the console alone has.
        assert!(compared.contains(name) || *name == "type", "{name} is not compared");
    }
    for name in compared {
        assert!(functions().contains_key(name) || matches!(name, "try" | "can"), "{name} is no function");
    }
}
