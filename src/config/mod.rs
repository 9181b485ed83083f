//! Reads a folder of HCL into [`Desired`]: texts → blocks → values in the order of their dependencies → the target.
//! All that is wrong in all files is told at once. Offline: only files below the folder are read.

mod build;
mod check;
mod connection;
mod contradictions;
mod convert;
#[cfg(test)]
mod differential;
mod eval;
mod extra;
pub mod fmt;
mod gates;
mod graph;
mod moved;
mod pods;
mod queries;
mod read;
mod release;
mod scan;
pub mod schema;
mod scope;
mod secrets;
mod shapes;
mod syntax;
#[cfg(test)]
mod tests;
mod usage;
mod variables;

use camino::Utf8Path;
use sha2::{Digest as _, Sha256};

use crate::diag::{Diagnostic, Diagnostics, SourceMap, Span};
use crate::model::Desired;

pub use eval::{Answer, Evaluated, eval};
use graph::Item;
use read::Texts;
use scope::{Inner, Report, Scope};
use syntax::Body;

/// Deepest nesting of a value that has a name: what walks values may recurse this far.
const DEPTH: usize = 100;
/// Most parts of a value that has a name. A fleet of 10,000 storages has some 50,000.
const SIZE: usize = 5_000_000;

/// Where values of variables come from, beside defaults and `tranship.vars.hcl`.
#[derive(Debug, Clone, Default)]
pub struct VariableInputs {
    /// `TRANSHIP_VAR_name` → text, from the environment.
    pub environment: Vec<(String, String)>,
    /// `--var-file`, in order; relative to the configuration's folder.
    pub files: Vec<String>,
    /// `--var name=value`, in order; wins over all.
    pub assignments: Vec<(String, String)>,
}

/// What a folder of configuration came to.
#[derive(Debug)]
pub struct Loaded {
    /// All texts that were read. Secrets that were written into them by mistake are masked.
    pub sources: SourceMap,
    /// The configuration, when there is no error.
    pub desired: Option<Desired>,
    /// All errors and warnings of all files.
    pub diagnostics: Diagnostics,
}

/// Reads, evaluates and checks a folder.
pub fn load(folder: &Utf8Path, variables: &VariableInputs) -> Loaded {
    run(folder, variables, Purpose::<fn(&Scope, &mut Texts, &mut Report)>::Load)
}

/// What a folder is read for.
enum Purpose<A> {
    /// For what it says.
    Load,
    /// To ask something with the names it declares; a folder that declares none is none the worse.
    Ask(A),
}

/// Reads, evaluates, asks and checks.
fn run<A: FnOnce(&Scope, &mut Texts, &mut Report)>(
    folder: &Utf8Path,
    variables: &VariableInputs,
    purpose: Purpose<A>,
) -> Loaded {
    let mut texts = Texts::default();
    let mut report = Report::default();
    let found = read::folder(folder, variables, &mut texts, &mut report);
    let asks = matches!(purpose, Purpose::Ask(_));
    let ask = match purpose {
        Purpose::Load => None,
        Purpose::Ask(ask) => {
            report.diagnostics.items.retain(|d| d.code != "config/empty");
            Some(ask)
        }
    };
    let mut syntax = Diagnostics::default();
    let mut body = Body::default();
    for (name, text) in found.configuration {
        let source = texts.add(name, text.clone());
        let parsed = syntax::parse(source, &text, &mut syntax);
        body.attributes.extend(parsed.attributes);
        body.blocks.extend(parsed.blocks);
    }
    let values: Vec<(String, Body)> = found
        .values
        .into_iter()
        .map(|(name, text)| variables::parse_file(name, &text, &mut texts, &mut syntax))
        .collect();
    let broken = syntax.has_errors() || report.diagnostics.has_errors();
    syntax.items.into_iter().for_each(|d| report.push(d));
    let mut desired = evaluate(folder, &body, &values, variables, ask, &mut texts, &mut report);
    report.masks.iter().for_each(|span| texts.mask(*span));
    let mut diagnostics = report.diagnostics;
    if broken {
        // What a broken text declares is missing elsewhere: that is not another error.
        diagnostics.items.retain(|d| {
            !matches!(
                d.code,
                "expr/missing-key"
                    | "config/missing-attribute"
                    | "config/undeclared-variable"
                    | "config/missing-variable"
            )
        });
    }
    if asks || diagnostics.has_errors() {
        // What names a block may be what is wrong, or what is asked.
        diagnostics.items.retain(|d| d.code != "config/unused");
    }
    let order = |d: &Diagnostic| d.span.map_or((u32::MAX, 0), |s| (s.source.0, s.start));
    diagnostics.items.sort_by_key(order);
    diagnostics.items.iter_mut().chain(desired.iter_mut().flat_map(|d| &mut d.later)).for_each(secrets::scrub);
    if diagnostics.has_errors() {
        desired = None;
    }
    let sources = texts.finish();
    for policy in desired.iter_mut().flat_map(|desired| &mut desired.policies) {
        policy.place = policy.condition.span.and_then(|span| sources.locate(span));
    }
    Loaded { sources, desired, diagnostics }
}

/// Evaluates what was parsed.
fn evaluate<A: FnOnce(&Scope, &mut Texts, &mut Report)>(
    folder: &Utf8Path,
    body: &Body,
    values: &[(String, Body)],
    inputs: &VariableInputs,
    ask: Option<A>,
    texts: &mut Texts,
    out: &mut Report,
) -> Option<Desired> {
    check::structure(body, &schema::ROOT, None, out);
    let mut scope = Scope::new(folder);
    let mut later = Report::default();
    let mut variables = Vec::new();
    if let Some(spec) = schema::ROOT.block("variable") {
        for block in body.blocks.iter().filter(|b| b.kind == "variable") {
            let fields = check::fields(block, spec, &Inner { scope: &scope, extra: Vec::new() }, out, &mut later);
            variables.extend(variables::declare(block, &fields, &scope, out));
        }
    }
    variables::hide_defaults(&variables, texts);
    variables::assign(&variables, values, inputs, texts, &mut scope, out);
    let items = items(body, out);
    let instances = graph::evaluate(&items, &mut scope, out);
    usage::undeclared(body, &scope, out);
    variables::validate(&variables, &scope, out);
    if let Some(ask) = ask {
        ask(&scope, texts, out);
    }
    let mut desired = build::Builder { scope: &scope, instances: &instances, out, later: &mut later }.build(body)?;
    later.diagnostics.items.sort_by_key(|d| d.span.map(|s| (s.source.0, s.start)));
    desired.later = later.diagnostics.items;
    desired.digest = digest(texts, &scope);
    Some(desired)
}

/// What expressions can name, beside variables: locals, and blocks by their labels.
fn items<'a>(body: &'a Body, out: &mut Report) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    let mut locals: std::collections::BTreeMap<&str, Span> = std::collections::BTreeMap::new();
    for attribute in body.blocks.iter().filter(|b| b.kind == "locals").flat_map(|b| &b.body.attributes) {
        match locals.insert(&attribute.name, attribute.name_span) {
            Some(first) => out.push(
                Diagnostic::error("config/duplicate-name", "Duplicate name")
                    .detail(format!("There are two locals named {:?}.", attribute.name))
                    .at(attribute.name_span)
                    .also(first, "first here")
                    .help("Rename one of them."),
            ),
            None => items.push(Item::local(attribute)),
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    for block in &body.blocks {
        let root = match block.kind.as_str() {
            "storage" => "storage",
            "pod_spec" => "pod_spec",
            "gate" => "gate",
            "hook" => "hook",
            "window" => "window",
            _ => continue,
        };
        // A second block of one name has been told.
        if let [(label, _)] = block.labels.as_slice()
            && seen.insert((root, label.as_str()))
        {
            items.push(Item::block(root, label, block));
        }
    }
    items
}

/// SHA-256 over the texts, the files that functions read and the variables' values, each with its length before it.
fn digest(texts: &Texts, scope: &Scope) -> String {
    let mut hash = Sha256::new();
    let mut field = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    field("tranship-config-1");
    for (name, text) in texts.configuration() {
        field(name);
        field(text);
    }
    for (name, text) in scope.files.read.borrow().iter() {
        field(name);
        field(text.as_deref().unwrap_or("(none)"));
    }
    field(&scope.variables());
    hex::encode(hash.finalize())
}

/// The diagnostic for a value that is too large to be passed on.
fn too_large(span: Span) -> Diagnostic {
    Diagnostic::error("config/too-large", "Value too large")
        .detail(format!("It nests deeper than {DEPTH} levels or has more than {SIZE} parts."))
        .at(span)
}
