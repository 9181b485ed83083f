//! `explain`: the language's reference, from the tables that the configuration is checked by.

use std::fmt::Write as _;

use super::args;
use super::exit::Exit;
use super::failure::Failure;
use super::terminal::Terminal;
use crate::config::fmt::Formatter;
use crate::config::schema::{AttributeSpec, BlockSpec, NAMES, Need, ROOT};
use crate::diag::nearest;
use crate::expr;
use crate::model::{PLAN_FIELDS, SandboxFault};
use crate::ui::{self, reference};
use reference::{Attribute, Block, Fault, Field, Function, Name, Parameter, Reference, Topic};

/// Explains what was named, or lists everything.
pub(super) fn explain(terminal: &Terminal, args: &args::Explain) -> Result<Exit, Failure> {
    let all = whole();
    if args.markdown {
        terminal.data(&ui::reference_markdown(&all))?;
        return Ok(Exit::Done);
    }
    let path = if args.functions { Some("functions") } else { args.path.as_deref() };
    let topic = path.map_or(Ok(Topic::All(&all)), |path| find(&all, path))?;
    terminal.data(&if args.json { ui::topic_json(topic) } else { ui::topic(topic, terminal.out) })?;
    Ok(Exit::Done)
}

/// The reference, from all tables.
fn whole() -> Reference {
    let field = |(name, field): &(&'static str, expr::Field)| {
        let expr::FieldDoc { kind, of, doc, example } = field.explain();
        Field { path: format!("repository.{name}"), kind, of, doc, example }
    };
    let of_plan = |(path, kind, doc): &(&'static str, &'static str, &'static str)| Field {
        path: format!("plan.{path}"),
        kind,
        of: &[],
        doc,
        example: "",
    };
    Reference {
        blocks: ROOT.blocks.iter().map(|spec| block(spec, "")).collect(),
        functions: expr::functions().values().map(function).collect(),
        names: NAMES.iter().map(|(name, place, doc)| Name { name, place, doc }).collect(),
        repository: expr::Field::ALL.iter().map(field).collect(),
        plan: PLAN_FIELDS.iter().map(of_plan).collect(),
        faults: SandboxFault::KINDS.iter().map(|(kind, doc)| Fault { kind, doc }).collect(),
        differences: &expr::DIFFERENCES,
    }
}

fn block(spec: &'static BlockSpec, within: &str) -> Block {
    let BlockSpec { name, labels: _, many, doc, attributes, blocks, later } = spec;
    let path = format!("{within}{name}");
    let inner = format!("{path}.");
    let attribute = |spec: &'static AttributeSpec| {
        let AttributeSpec { name, shape, need, unit, doc, example } = spec;
        Attribute {
            path: format!("{inner}{name}"),
            name,
            kind: shape.kind(),
            required: *need == Need::Required,
            default: match need {
                Need::Default(text) => Some(text),
                Need::Required | Need::Optional => None,
            },
            unit: (!unit.is_empty()).then_some(unit),
            range: shape.range(),
            doc,
            example,
        }
    };
    Block {
        header: header(spec),
        many: *many,
        doc,
        later: *later,
        example: if within.is_empty() { example(spec) } else { String::new() },
        attributes: attributes.iter().map(attribute).collect(),
        blocks: blocks.iter().map(|spec| block(spec, &inner)).collect(),
        path,
    }
}

/// The line that begins a block, without the brace.
fn header(spec: &BlockSpec) -> String {
    spec.labels.iter().fold(spec.name.to_owned(), |line, label| format!("{line} \"{}\"", label.to_uppercase()))
}

/// A block with each attribute once, in canonical style.
fn example(spec: &BlockSpec) -> String {
    fn write(out: &mut String, spec: &BlockSpec) {
        let _ = writeln!(out, "{} {{", header(spec));
        spec.attributes.iter().for_each(|attribute| out.extend([attribute.example, "\n"]));
        if spec.name == "locals" {
            out.push_str("NAME = \"any value\"\n");
        }
        for (i, inner) in spec.blocks.iter().enumerate() {
            if i > 0 || !spec.attributes.is_empty() {
                out.push('\n');
            }
            write(out, inner);
        }
        out.push_str("}\n");
    }
    let mut text = String::new();
    write(&mut text, spec);
    // The table's examples are whole: its test reads each.
    Formatter::default().format(spec.name, text.clone().into_bytes()).unwrap_or(text)
}

fn function(function: &'static expr::Function) -> Function {
    let expr::Function { name, parameters, optional, variadic, doc, .. } = function;
    let least = parameters.len() - optional - usize::from(*variadic);
    let mut signature = format!("{name}(");
    for (i, (parameter, _)) in parameters.iter().enumerate() {
        let (open, close) = if i >= least { ("[", "]") } else { ("", "") };
        let more = if *variadic && i + 1 == parameters.len() { " …" } else { "" };
        let _ = write!(signature, "{}{open}{parameter}{more}{close}", if i > 0 { ", " } else { "" });
    }
    signature.push(')');
    let parameter = |(i, (name, takes)): (usize, &(&'static str, expr::Takes))| Parameter {
        name,
        takes: takes.describe(),
        optional: i >= least,
    };
    Function { name, signature, parameters: parameters.iter().enumerate().map(parameter).collect(), doc }
}

/// Finds what a path names.
fn find<'a>(all: &'a Reference, path: &str) -> Result<Topic<'a>, Failure> {
    let topics = topics(all);
    // How it would be typed from habit.
    let plain = path.trim().trim_end_matches("()").trim_start_matches("config.").to_lowercase();
    let plain = without_labels(all, &plain);
    let plain = plain.strip_prefix("functions.").map_or(plain.clone(), |name| format!("function.{name}"));
    let plain = plain
        .strip_prefix("sandbox.fault.")
        .filter(|kind| !matches!(*kind, "nth" | "count"))
        .map_or(plain.clone(), |kind| format!("fault.{kind}"));
    if let Some((_, topic)) = topics.iter().find(|(known, _)| *known == plain) {
        return Ok(*topic);
    }
    let word = plain.split('.').next().unwrap_or_default();
    let topic = topics.iter().any(|(known, _)| known == word);
    if !topic
        && all.names.iter().any(|n| n.name.to_lowercase().split(|c: char| !c.is_alphanumeric()).next() == Some(word))
    {
        return Ok(Topic::Names(&all.names));
    }
    let last = |known: &str, word: &str| known.rsplit('.').next() == Some(word);
    let named: Vec<&(String, Topic<'_>)> = topics.iter().filter(|(known, _)| last(known, &plain)).collect();
    // A name that stands in one place only needs no path.
    if let [(_, topic)] = named.as_slice() {
        return Ok(*topic);
    }
    let places: Vec<&str> = named.iter().map(|(known, _)| known.as_str()).collect();
    if !places.is_empty() {
        let message = format!("{} things are called {path:?}", places.len());
        return Err(Failure::new(message, format!("Name one by its path: {}.", places.join(", "))));
    }
    let all = || topics.iter().map(|(known, _)| known.as_str());
    // Below what is named rightly first.
    let (above, word) = plain.rsplit_once('.').unwrap_or(("", &plain));
    let below = |known: &&str| known.strip_prefix(above).is_some_and(|rest| rest.starts_with('.'));
    let near = nearest(word, all().filter(below).filter_map(|known| known.rsplit('.').next()))
        .and_then(|word| all().filter(below).find(|known| last(known, word)))
        .or_else(|| nearest(&plain, all()))
        .or_else(|| {
            let word = nearest(word, all().filter_map(|known| known.rsplit('.').next()))?;
            all().find(|known| last(known, word))
        });
    let help = match near {
        Some(near) => format!("Did you mean `{near}`?\n\ntranship explain {near}"),
        None => "What there is:\n\ntranship explain".to_owned(),
    };
    Err(Failure::new(format!("there is nothing called {path:?} in the language"), help))
}

/// An address as a plan writes it, `storage.vm["a"].weight`, as the path in the language: without label and key.
fn without_labels(all: &Reference, path: &str) -> String {
    let mut parts: Vec<&str> = path.split('.').map(|part| part.split('[').next().unwrap_or(part)).collect();
    let block = all.blocks.iter().find(|block| parts.first() == Some(&block.path.as_str()));
    let inner = |word: &str| {
        block.is_some_and(|block| {
            let inner = format!("{}.{word}", block.path);
            block.attributes.iter().any(|a| a.path == inner) || block.blocks.iter().any(|b| b.path == inner)
        })
    };
    if let [_, label, attribute, ..] = parts.as_slice()
        && block.is_some_and(|block| block.header.contains('"'))
        && !inner(label)
        && inner(attribute)
    {
        parts.remove(1);
    }
    parts.join(".")
}

/// Everything that can be asked about, by its path.
fn topics(all: &Reference) -> Vec<(String, Topic<'_>)> {
    fn add<'a>(found: &mut Vec<(String, Topic<'a>)>, block: &'a Block) {
        found.push((block.path.clone(), Topic::Block(block)));
        found.extend(block.attributes.iter().map(|a| (a.path.clone(), Topic::Attribute(a))));
        block.blocks.iter().for_each(|inner| add(found, inner));
    }
    let Reference { blocks, functions, names, repository, plan, faults, differences } = all;
    let mut found = Vec::new();
    blocks.iter().for_each(|block| add(&mut found, block));
    found.push(("functions".to_owned(), Topic::Functions(functions)));
    found.extend(functions.iter().map(|f| (format!("function.{}", f.name), Topic::Function(f))));
    found.push(("names".to_owned(), Topic::Names(names)));
    found.push(("repository".to_owned(), Topic::Fields(repository)));
    found.push(("plan".to_owned(), Topic::Fields(plan)));
    found.extend(repository.iter().chain(plan).map(|f| (f.path.clone(), Topic::Field(f))));
    found.push(("differences".to_owned(), Topic::Differences(differences)));
    found.push(("faults".to_owned(), Topic::Faults(faults)));
    found.extend(faults.iter().map(|f| (format!("fault.{}", f.kind), Topic::Fault(f))));
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ui::Style;

    const PLAIN: Style = Style { color: false, width: 100, tty: false };

    fn said(path: &str) -> Result<String, String> {
        let all = whole();
        find(&all, path).map(|topic| ui::topic(topic, PLAIN)).map_err(|failure| format!("{:?}", failure.reason))
    }

    #[test]
    fn every_topic_has_one_path_and_something_to_say() {
        let all = whole();
        let topics = topics(&all);
        let paths: BTreeSet<&str> = topics.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths.len(), topics.len());
        assert!(paths.len() > 200, "{}", paths.len());
        for (path, topic) in &topics {
            let text = ui::topic(*topic, PLAIN);
            assert!(text.lines().count() > 2, "{path}: {text}");
            assert!(!text.contains("\u{1b}") && text.lines().all(|line| line == line.trim_end()), "{path}: {text}");
            let colored = ui::topic(*topic, Style { color: true, ..PLAIN });
            assert_eq!(console::strip_ansi_codes(&colored), text, "{path}");
            let json: serde_json::Value = serde_json::from_str(&ui::topic_json(*topic)).expect("JSON");
            assert!(json.is_object() || json.is_array(), "{path}");
        }
    }

    #[test]
    fn an_attribute_says_type_default_unit_range_and_an_example() {
        let told = "storage.limits.disk_ceiling\n\n  No move may take its disk above this.\n\n  type     number\n  \
                    default  0.85\n  unit     share of the disk\n  range    from 0 to 1\n  example  disk_ceiling = 0.80\n";
        for path in ["storage.limits.disk_ceiling", "disk_ceiling", " Storage.Limits.Disk_Ceiling"] {
            assert_eq!(said(path).as_deref(), Ok(told), "{path}");
        }
        let all = whole();
        for (path, topic) in topics(&all) {
            if let Topic::Attribute(_) = topic {
                let text = ui::topic(topic, PLAIN);
                let facts = ["type     ", "default  ", "unit     ", "range    ", "example  "];
                assert!(facts.iter().all(|fact| text.contains(&format!("\n  {fact}"))), "{path}: {text}");
            }
        }
    }

    #[test]
    fn what_is_not_there_has_a_near_name() {
        for (path, near) in [
            ("storage.limits.disk_celing", "storage.limits.disk_ceiling"),
            ("storag", "storage"),
            ("gate.quary", "gate.query"),
            ("function.timead", "function.timeadd"),
            ("fault.corupt_copy", "fault.corrupt_copy"),
            ("repository.sise", "repository.size"),
            ("wieght", "weight"),
            ("frobnicate", "tranship explain"),
            ("max", "gate.max, function.max"),
        ] {
            let error = said(path).expect_err(path);
            assert!(error.contains(near), "{path}: {error}");
        }
    }

    #[test]
    fn functions_show_what_may_be_left_out() {
        let all = whole();
        let signature = |name: &str| all.functions.iter().find(|f| f.name == name).map(|f| f.signature.clone());
        for told in
            ["timeadd(time, duration)", "lookup(map, key, [default])", "max(number, [numbers …])", "can(expression)"]
        {
            let name = told.split('(').next().unwrap_or_default();
            assert_eq!(signature(name).as_deref(), Some(told));
        }
        assert_eq!(said("function.timeadd()"), said("timeadd"));
        assert_eq!(said("functions.timeadd"), said("timeadd"));
    }

    #[test]
    fn examples_are_whole_and_in_canonical_style() {
        for block in whole().blocks {
            let formatted = Formatter::default().format("x", block.example.clone().into_bytes());
            assert_eq!(formatted, Some(block.example));
        }
    }
}
