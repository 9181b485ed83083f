//! Checks blocks by the table: first their structure, once for each block; then the values of their attributes, once
//! for each instance.

use std::collections::BTreeMap;

use super::schema::{AttributeSpec, BlockSpec, Need, Shape};
use super::scope::{Inner, Report};
use super::shapes;
use super::syntax::{Block, Body};
use crate::diag::{Diagnostic, Span, nearest};
use crate::expr::tree::{Kind, Node};
use crate::expr::{Value, explain};

/// Checks what a body may and must hold, and the bodies within it.
pub(super) fn structure(body: &Body, spec: &'static BlockSpec, header: Option<Span>, out: &mut Report) {
    let place = if header.is_some() { format!("in a `{}` block", spec.name) } else { "outside of blocks".to_owned() };
    // `locals` holds names of the user's own.
    if spec.name != "locals" {
        for attribute in &body.attributes {
            if spec.attribute(&attribute.name).is_none() {
                // A misspelt `token` may hold the secret itself.
                let near = nearest(&attribute.name, spec.attributes.iter().map(|a| a.name));
                if near.and_then(|n| spec.attribute(n)).is_some_and(|a| a.shape == Shape::Secret) {
                    out.masks.push(attribute.value.span);
                }
                out.push(unknown_attribute(spec, &place, &attribute.name, attribute.name_span));
            }
        }
    }
    for attribute in spec.attributes {
        if attribute.need == Need::Required
            && body.attribute(attribute.name).is_none()
            && let Some(header) = header
        {
            out.push(
                Diagnostic::error("config/missing-attribute", "Missing attribute")
                    .detail(format!("`{}` needs `{}`: {}", spec.name, attribute.name, attribute.doc))
                    .at(header)
                    .help(format!("For example: {}", attribute.example)),
            );
        }
    }
    let mut singles: BTreeMap<&str, Span> = BTreeMap::new();
    let mut named: BTreeMap<(&str, &str), Span> = BTreeMap::new();
    for block in &body.blocks {
        let Some(inner) = spec.block(&block.kind) else {
            out.push(unknown_block(spec, &place, block));
            continue;
        };
        labels(block, inner, out);
        if !inner.many
            && let Some(first) = singles.insert(inner.name, block.header)
        {
            out.push(
                Diagnostic::error("config/duplicate-block", "Duplicate block")
                    .detail(format!("`{}` may stand only once {place}.", inner.name))
                    .at(block.header)
                    .also(first, "first here")
                    .help("Put everything into one block."),
            );
        }
        if inner.labels == ["name"]
            && let [(label, _)] = block.labels.as_slice()
            && let Some(first) = named.get(&(inner.name, label.as_str())).copied().or_else(|| {
                named.insert((inner.name, label), block.header);
                None
            })
        {
            out.push(
                Diagnostic::error("config/duplicate-name", "Duplicate name")
                    .detail(format!("There are two `{}` blocks named {label:?}.", inner.name))
                    .at(block.header)
                    .also(first, "first here")
                    .help("Rename one of them."),
            );
        }
        structure(&block.body, inner, Some(block.header), out);
    }
}

fn unknown_attribute(spec: &BlockSpec, place: &str, name: &str, span: Span) -> Diagnostic {
    let mut diagnostic = Diagnostic::error("config/unknown-attribute", "Unknown attribute").at(span);
    diagnostic.detail = format!("There is no attribute `{name}` {place}.");
    let known = spec.attributes.iter().map(|a| a.name);
    diagnostic.help = if name == "count" {
        Some("There is no `count`; use `for_each`, whose instances keep their names when others go.".to_owned())
    } else if spec.block(name).is_some() {
        Some(format!("`{name}` is a block: {name} {{ … }}, without `=`."))
    } else if let Some(near) = nearest(name, known.clone()) {
        Some(format!("Did you mean `{near}`?"))
    } else {
        let known: Vec<&str> = known.collect();
        (!known.is_empty()).then(|| format!("It has {}.", known.join(", ")))
    };
    diagnostic
}

fn unknown_block(spec: &BlockSpec, place: &str, block: &Block) -> Diagnostic {
    let mut diagnostic = Diagnostic::error("config/unknown-block", "Unknown block").at(block.kind_span);
    diagnostic.detail = format!("There is no block `{}` {place}.", block.kind);
    let known: Vec<&str> = spec.blocks.iter().map(|b| b.name).collect();
    const TERRAFORM: [&str; 6] = ["data", "module", "output", "provider", "resource", "terraform"];
    diagnostic.help = if TERRAFORM.contains(&block.kind.as_str()) {
        Some("It is one of Terraform's, which stand in *.tf files; the language is like Terraform's, its blocks are tranship's own: `tranship explain`.".to_owned())
    } else if spec.attribute(&block.kind).is_some() {
        Some(format!("`{0}` is an attribute: {0} = …", block.kind))
    } else if let Some(near) = nearest(&block.kind, known.iter().copied()) {
        Some(format!("Did you mean `{near}`? Known are {}.", known.join(", ")))
    } else {
        (!known.is_empty()).then(|| format!("Known are {}.", known.join(", ")))
    };
    diagnostic
}

fn labels(block: &Block, spec: &BlockSpec, out: &mut Report) {
    if block.labels.len() != spec.labels.len() {
        let expected = match spec.labels {
            [] => "no label".to_owned(),
            [one] => format!("one label, its {one}"),
            more => format!("{} labels", more.len()),
        };
        let example: String = spec.labels.iter().map(|l| format!(" \"{l}\"")).collect();
        out.push(
            Diagnostic::error("config/labels", "Wrong number of labels")
                .detail(format!("`{}` takes {expected}; here are {}.", spec.name, block.labels.len()))
                .at(block.header)
                .help(format!("Write: {}{example} {{ … }}", spec.name)),
        );
        return;
    }
    for (label, span) in &block.labels {
        // A storage of the sandbox has GitLab's name for its label, which is checked as such.
        if spec.labels == ["name"] && !is_label(label) && !spec.attributes.iter().any(|a| a.name == "disk") {
            out.push(
                Diagnostic::error("config/label", "Not a name")
                    .detail(format!("{label:?} cannot be used in expressions."))
                    .at(*span)
                    .help(if spec.name == "storage" {
                        "A label begins with a letter or `_` and has letters, digits, `_` and `-`. Name the block so; the \
                         name that the storage has in GitLab then stands in `name`."
                    } else {
                        "A name begins with a letter or `_` and has letters, digits, `_` and `-`."
                    }),
            );
        }
    }
}

/// Whether a label can be used in expressions.
fn is_label(label: &str) -> bool {
    label.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

/// The checked value of an attribute.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) span: Span,
}

/// The checked attributes of one block or instance. What is wrong or unknown is left out: it has been told.
pub(super) struct Fields {
    entries: BTreeMap<&'static str, Entry>,
    pub(super) header: Span,
}

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.value.as_str()
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.get(name)?.value.as_bool()
    }

    pub(super) fn whole<T: TryFrom<i128>>(&self, name: &str) -> Option<T> {
        self.get(name)?.value.as_int().and_then(|n| T::try_from(n).ok())
    }

    pub(super) fn span(&self, name: &str) -> Span {
        self.get(name).map_or(self.header, |e| e.span)
    }
}

/// Evaluates and checks a block's attributes. What comes with a later version is added to `later`.
pub(super) fn fields(
    block: &Block,
    spec: &'static BlockSpec,
    names: &Inner<'_>,
    out: &mut Report,
    later: &mut Report,
) -> Fields {
    let mut entries = BTreeMap::new();
    if spec.later {
        later.push(not_yet(&format!("the block `{}`", spec.name), spec.doc, block.kind_span));
    }
    for attribute in spec.attributes {
        // Conditions are compiled and `for_each` is expanded by those who ask for them.
        if matches!(attribute.shape, Shape::Where | Shape::Condition(_) | Shape::ForEach | Shape::Type) {
            continue;
        }
        let default = match attribute.need {
            Need::Default(text) => shapes::check(attribute.shape, &literal(text)).ok(),
            Need::Required | Need::Optional => None,
        };
        let Some(written) = block.body.attribute(attribute.name) else {
            entries.extend(default.map(|value| (attribute.name, Entry { value, span: block.header })));
            continue;
        };
        let Some(value) = value(attribute, &written.value, written.name_span, names, out) else { continue };
        let empty = matches!(&value, Value::List(items) if items.is_empty());
        if empty && (spec.name, attribute.name) == ("assignment", "to") {
            out.push(wrong(attribute, written.value.span, "this is empty"));
            continue;
        }
        let value = if value == Value::Null { default } else { Some(value) };
        entries.extend(value.map(|value| (attribute.name, Entry { value, span: written.value.span })));
    }
    Fields { entries, header: block.header }
}

/// The diagnostic for something whose effect this version cannot bring about.
pub(super) fn not_yet(what: &str, doc: &str, span: Span) -> Diagnostic {
    Diagnostic::error("config/later", "Not in this version")
        .detail(format!("This version of tranship cannot bring about {what} yet ({})", doc.trim_end_matches('.')) + ".")
        .at(span)
        .help("Remove it to plan without it, or wait for a version that has it.")
}

/// Reads a default of the table.
fn literal(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match crate::expr::Number::parse(text) {
            Some(number) => number.into(),
            None => text.trim_matches('"').into(),
        },
    }
}

/// Evaluates one attribute and checks it by its shape. `None`: told already, or unknown for a reason told already.
fn value(spec: &AttributeSpec, node: &Node, name: Span, names: &Inner<'_>, out: &mut Report) -> Option<Value> {
    // Who reads an address checks it.
    if spec.shape == Shape::Address {
        return Some(Value::Null);
    }
    if spec.shape == Shape::Secret && secret_in_the_open(node) {
        out.masks.push(node.span);
        out.push(secret_refused(spec, name));
        return None;
    }
    let target = Inner {
        scope: names.scope,
        extra: match spec.shape {
            Shape::Template(root) => names.extra.iter().cloned().chain([(root, Value::Unknown)]).collect(),
            _ => names.extra.clone(),
        },
    };
    let value = target.evaluate(node, out)?;
    // All that a configuration says stands in plans, reports, messages or the state; of a secret, its name does.
    if names.scope.touches_sensitive(node) {
        out.push(shown_anyway(spec.name, node.span));
        return None;
    }
    if value.has_unknown() {
        return None;
    }
    if value == Value::Null {
        if spec.need == Need::Required {
            out.push(wrong(spec, node.span, "this is null"));
            return None;
        }
        return Some(value);
    }
    match shapes::check(spec.shape, &value) {
        Ok(value) => Some(value),
        Err(_) if spec.shape == Shape::Secret => {
            out.masks.push(node.span);
            out.push(secret_refused(spec, name));
            None
        }
        Err(misfit) => {
            let (at, rest) = node.part(&misfit.path);
            let found = match rest {
                [] => format!("this {}", misfit.found),
                rest => {
                    let part: String = rest.iter().map(ToString::to_string).collect();
                    format!("its part {part} {}", misfit.found)
                }
            };
            let mut diagnostic = wrong(spec, at.span, &found);
            explain(at, names, &mut diagnostic);
            out.push(diagnostic);
            None
        }
    }
}

/// The diagnostic for a sensitive value where it would be printed.
pub(super) fn shown_anyway(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error("config/sensitive", "Sensitive value would be shown")
        .detail(format!("`{name}` appears in plans, reports, messages or the state, and a sensitive value must not."))
        .at(span)
        .help("Use a value that is not sensitive.")
}

/// True when an expression could hold the secret itself: anything but an object.
fn secret_in_the_open(node: &Node) -> bool {
    matches!(node.kind, Kind::Literal(Value::String(_)) | Kind::Template(_))
}

fn secret_refused(spec: &AttributeSpec, name: Span) -> Diagnostic {
    Diagnostic::error("config/secret", "Secret must be a reference")
        .detail(format!(
            "`{}` must be {}; the name of an environment variable has letters, digits and `_`. A secret itself does not belong into a configuration, where version control keeps it.",
            spec.name,
            spec.shape.describe()
        ))
        .at(name)
        .help(format!("Write for example: {}. If a real secret stands here, revoke it.", spec.example))
}

fn wrong(spec: &AttributeSpec, span: Span, found: &str) -> Diagnostic {
    let unit = if spec.unit.is_empty() { String::new() } else { format!(" ({})", spec.unit) };
    Diagnostic::error("config/invalid-value", "Invalid value")
        .detail(format!("`{}` must be {}{unit}; {found}.", spec.name, spec.shape.describe()))
        .at(span)
        .help(format!("For example: {}", spec.example))
}

/// Where a storage's name stands: `name`, else the label.
pub(super) fn name_span(block: &Block) -> Span {
    let label = block.labels.first().map(|(_, span)| *span);
    block.body.attribute("name").map(|name| name.value.span).or(label).unwrap_or(block.header)
}

/// The name that GitLab has for a storage: `name`, else the label, with the key of an instance. `None`: told already.
pub(super) fn storage_name(
    block: &Block,
    label: &str,
    instance: Option<(&str, &Value)>,
    scope: &super::scope::Scope,
    out: &mut Report,
) -> Option<String> {
    let extra = instance.map(|(_, each)| ("each", each.clone()));
    let names = Inner { scope, extra: extra.into_iter().collect() };
    if let Some(written) = block.body.attribute("name")
        && scope.touches_sensitive(&written.value)
    {
        out.push(shown_anyway("name", written.value.span));
        return None;
    }
    let (found, span) = match (block.body.attribute("name"), instance) {
        (Some(written), _) => match names.evaluate(&written.value, out)? {
            Value::String(text) => (text, written.value.span),
            Value::Unknown => return None,
            other => {
                let detail = format!("`name` must be a string; this is {}.", other.kind());
                out.push(
                    Diagnostic::error("config/invalid-value", "Invalid value").detail(detail).at(written.value.span),
                );
                return None;
            }
        },
        (None, Some((key, _))) => (format!("{label}-{key}"), name_span(block)),
        // Told already.
        (None, None) if !is_label(label) => return None,
        (None, None) => (label.to_owned(), name_span(block)),
    };
    match crate::model::StorageName::new(found) {
        Ok(name) => Some(name.as_str().to_owned()),
        Err(error) => {
            out.push(
                Diagnostic::error("config/storage-name", "Not a storage's name").detail(format!("{error}.")).at(span),
            );
            None
        }
    }
}
