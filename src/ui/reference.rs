//! The reference of the language: for a terminal, as Markdown, as JSON. What it says comes from the tables of the layers
//! below; here it is only laid out.

use std::fmt::Write as _;

use serde::Serialize;

use super::Style;
use super::text::{Paint, Table, prose};

/// All that the reference says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reference {
    /// Blocks that stand outside of everything, in the order of the table.
    pub blocks: Vec<Block>,
    /// Functions, by name.
    pub functions: Vec<Function>,
    /// What else expressions may name.
    pub names: Vec<Name>,
    /// Fields of `repository`.
    pub repository: Vec<Field>,
    /// Fields of `plan`.
    pub plan: Vec<Field>,
    /// Kinds of faults of a sandbox.
    pub faults: Vec<Fault>,
    /// Where an expression's value is another than Terraform's, on purpose.
    pub differences: &'static [&'static str],
}

/// A block.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Block {
    /// Like `storage.limits`.
    pub path: String,
    /// The line that begins it, without the brace.
    pub header: String,
    /// Whether it may stand more than once in what encloses it.
    pub many: bool,
    /// What it says.
    pub doc: &'static str,
    /// Read and checked, but without effect in this version.
    pub later: bool,
    /// The whole block, each attribute once.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub example: String,
    /// Its attributes.
    pub attributes: Vec<Attribute>,
    /// Blocks within.
    pub blocks: Vec<Self>,
}

/// An attribute.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attribute {
    /// Like `storage.limits.disk_ceiling`.
    pub path: String,
    /// Its name.
    pub name: &'static str,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it must be there.
    pub required: bool,
    /// What stands for it when it is left out, as it would be written.
    pub default: Option<&'static str>,
    /// Of a number.
    pub unit: Option<&'static str>,
    /// What is allowed beyond the type.
    pub range: Option<String>,
    /// What it says.
    pub doc: &'static str,
    /// How it is written.
    pub example: &'static str,
}

/// A function.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The call, with what may be left out in brackets.
    pub signature: String,
    /// What each parameter takes.
    pub parameters: Vec<Parameter>,
    /// What it gives.
    pub doc: &'static str,
}

/// A parameter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it takes, with its article.
    pub takes: &'static str,
    /// Whether it may be left out.
    pub optional: bool,
}

/// Something that expressions may name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Name {
    /// As it is written.
    pub name: &'static str,
    /// Where it may stand.
    pub place: &'static str,
    /// What it is.
    pub doc: &'static str,
}

/// A field of `repository` or `plan`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    /// Like `repository.size`.
    pub path: String,
    /// Its type, with its unit.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The kinds of repositories that have it; empty where that is no question.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub of: &'static [&'static str],
    /// What it is.
    pub doc: &'static str,
    /// A condition with it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub example: &'static str,
}

/// A kind of fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fault {
    /// The label of the `fault` block.
    pub kind: &'static str,
    /// What happens.
    pub doc: &'static str,
}

/// What somebody asks about.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Topic<'a> {
    /// Everything, a line each.
    All(&'a Reference),
    /// A block.
    Block(&'a Block),
    /// An attribute.
    Attribute(&'a Attribute),
    /// All functions, a line each.
    Functions(&'a [Function]),
    /// A function.
    Function(&'a Function),
    /// What expressions may name.
    Names(&'a [Name]),
    /// All fields of `repository` or `plan`.
    Fields(&'a [Field]),
    /// A field.
    Field(&'a Field),
    /// Where values differ from Terraform's.
    Differences(&'a [&'static str]),
    /// All kinds of faults.
    Faults(&'a [Fault]),
    /// A kind of fault.
    Fault(&'a Fault),
}

/// What stands for nothing, and for no limit.
const NONE: &str = "none";
const ANY: &str = "any";
/// Said of what is only checked.
const LATER: &str = "Read and checked; in this version, a plan that it would have an effect on refuses it.";

/// A topic for people.
pub fn topic(topic: Topic<'_>, style: Style) -> String {
    let page = Page { paint: Paint::new(style), style };
    match topic {
        Topic::All(reference) => page.all(reference),
        Topic::Block(block) => page.block(block),
        Topic::Attribute(attribute) => page.attribute(attribute),
        Topic::Functions(functions) => page.list(functions.iter().map(|f| (f.signature.as_str(), f.doc.to_owned()))),
        Topic::Function(function) => page.function(function),
        Topic::Names(names) => page.list(names.iter().map(|n| (n.name, format!("{} In: {}.", n.doc, n.place)))),
        Topic::Fields(fields) => page.list(fields.iter().map(|f| (f.path.as_str(), field_line(f)))),
        Topic::Field(field) => page.field(field),
        Topic::Differences(all) => all.iter().map(|one| prose(style, 2, &sentence(one))).collect::<Vec<_>>().join("\n"),
        Topic::Faults(faults) => page.list(faults.iter().map(|f| (f.kind, sentence(f.doc)))),
        Topic::Fault(fault) => page.facts(
            &format!("fault \"{}\"", fault.kind),
            &sentence(fault.doc),
            &[("example", format!("fault \"{}\" {{ nth = 5 }}", fault.kind))],
        ),
    }
}

/// A topic as JSON.
pub fn topic_json(topic: Topic<'_>) -> String {
    super::pretty(&topic)
}

struct Page {
    paint: Paint,
    style: Style,
}

impl Page {
    fn heading(&self, text: &str) -> String {
        format!("{}\n", self.paint.bold(text))
    }

    fn list<'a>(&self, rows: impl Iterator<Item = (&'a str, String)>) -> String {
        let mut table = Table::new(self.style, &[]);
        rows.for_each(|(name, doc)| table.row_with([self.paint.change(name)], doc));
        table.render(2)
    }

    fn facts(&self, title: &str, doc: &str, facts: &[(&str, String)]) -> String {
        let mut out = self.heading(title);
        out.push('\n');
        out.push_str(&prose(self.style, 2, doc));
        out.push('\n');
        let mut table = Table::new(self.style, &[]);
        for (name, value) in facts {
            let mut lines = value.lines();
            table.row([self.paint.dim(name), lines.next().unwrap_or_default().to_owned()]);
            lines.for_each(|line| table.row([String::new(), line.to_owned()]));
        }
        out + &table.render(2)
    }

    fn all(&self, reference: &Reference) -> String {
        let Reference { blocks, functions, names, repository, plan, faults, differences } = reference;
        let mut out = self.heading("Blocks of a configuration");
        out.push_str(&self.list(blocks.iter().map(|block| (block.path.as_str(), block.doc.to_owned()))));
        out.push('\n');
        out.push_str(&self.heading("Within expressions"));
        let count = |n: usize, what: &str| format!("{n} {what}");
        let topics = [
            ("functions", count(functions.len(), "functions.")),
            ("names", count(names.len(), "kinds of names: variables, locals, blocks.")),
            ("repository", count(repository.len(), "fields of a repository, for `where`.")),
            ("plan", count(plan.len(), "fields of the finished plan, for policies.")),
            ("differences", count(differences.len(), "points in which values differ from Terraform's, on purpose.")),
        ];
        out.push_str(&self.list(topics.into_iter()));
        out.push('\n');
        out.push_str(&self.heading("On the sandbox"));
        out.push_str(&self.list([("faults", count(faults.len(), "kinds of faults that can be ordered."))].into_iter()));
        out.push_str(
            "\nEach of these words, or a path like storage.limits.disk_ceiling or function.merge, tells more:\n\n",
        );
        out.push_str("  tranship explain storage\n");
        out
    }

    fn block(&self, block: &Block) -> String {
        let Block { path, header, many, doc, later, example, attributes, blocks } = block;
        let often = if *many { "any number of them" } else { "at most one" };
        let mut out = format!("{}  {}\n\n", self.paint.bold(header), self.paint.dim(&format!("({often})")));
        out.push_str(&prose(self.style, 2, doc));
        if *later {
            out.push_str(&prose(self.style, 2, LATER));
        }
        if !attributes.is_empty() {
            out.push('\n');
            out.push_str(&self.heading("Attributes"));
        }
        for attribute in attributes {
            let _ = writeln!(out, "  {}  {}", self.paint.change(attribute.name), self.paint.dim(&takes(attribute)));
            out.push_str(&prose(self.style, 6, attribute.doc));
            let _ = writeln!(out, "      {}", attribute.example);
        }
        if !blocks.is_empty() {
            out.push('\n');
            out.push_str(&self.heading("Blocks"));
            out.push_str(&self.list(blocks.iter().map(|inner| (inner.path.as_str(), inner.doc.to_owned()))));
        }
        if !example.is_empty() {
            out.push('\n');
            out.push_str(&self.heading("Every attribute once"));
            example.lines().for_each(|line| {
                let _ = writeln!(out, "{}{line}", if line.is_empty() { "" } else { "  " });
            });
        }
        if path == "sandbox.fault" {
            out.push_str("\nThe kinds of faults:\n\n  tranship explain faults\n");
        }
        out
    }

    fn attribute(&self, attribute: &Attribute) -> String {
        let Attribute { path, name: _, kind, required, default, unit, range, doc, example } = attribute;
        let default = if *required { "none: it is required" } else { default.unwrap_or("none: it may be left out") };
        self.facts(
            path,
            doc,
            &[
                ("type", kind.clone()),
                ("default", default.to_owned()),
                ("unit", unit.unwrap_or(NONE).to_owned()),
                ("range", range.clone().unwrap_or_else(|| ANY.to_owned())),
                ("example", (*example).to_owned()),
            ],
        )
    }

    fn function(&self, function: &Function) -> String {
        let Function { name: _, signature, parameters, doc } = function;
        let facts: Vec<(&str, String)> = parameters
            .iter()
            .map(|p| (p.name, format!("{}{}", p.takes, if p.optional { "; may be left out" } else { "" })))
            .collect();
        self.facts(signature, doc, &facts)
    }

    fn field(&self, field: &Field) -> String {
        let Field { path, kind, of, doc, example } = field;
        let mut facts = vec![("type", (*kind).to_owned())];
        if !of.is_empty() {
            facts.push(("of", format!("{}; of others it is unknown", of.join(", "))));
        }
        if !example.is_empty() {
            facts.push(("example", (*example).to_owned()));
        }
        self.facts(path, doc, &facts)
    }
}

/// Type, default, unit and range of an attribute on one line.
fn takes(attribute: &Attribute) -> String {
    let Attribute { kind, required, default, unit, range, .. } = attribute;
    let mut parts = vec![kind.clone()];
    parts.extend(range.clone());
    parts.extend(unit.filter(|unit| !kind.contains(unit)).map(|unit| format!("unit: {unit}")));
    parts.push(match (required, default) {
        (true, _) => "required".to_owned(),
        (_, Some(default)) => format!("default {default}"),
        _ => "optional".to_owned(),
    });
    parts.join(" | ")
}

fn field_line(field: &Field) -> String {
    let only =
        if matches!(field.of.len(), 0 | 3) { String::new() } else { format!(" Only of: {}.", field.of.join(", ")) };
    format!("{} ({}){only}", field.doc, field.kind)
}

/// A phrase as a sentence.
fn sentence(phrase: &str) -> String {
    let mut chars = phrase.chars();
    let first = chars.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(chars).chain(['.']).collect()
}

/// The whole reference as Markdown.
pub fn reference_markdown(reference: &Reference) -> String {
    let Reference { blocks, functions, names, repository, plan, faults, differences } = reference;
    let mut out = String::from(
        "# The language\n\nGenerated by `tranship explain --markdown`. The same on a terminal, a topic at a time: \
         `tranship explain storage`,\n`tranship explain storage.limits.disk_ceiling`, `tranship explain functions`.\n\n\
         A configuration is a folder: all its `*.hcl` files together, in any order. What is marked (later) is read and \
         checked;\na plan that it would have an effect on refuses it.\n\n## Blocks\n\n",
    );
    table(&mut out, &["block", ""], blocks.iter().map(|b| vec![link(b), marked(b.doc, b.later)]));
    for block in blocks {
        markdown_block(&mut out, block, 3);
    }
    out.push_str("\n## Names\n\nWhat expressions may name.\n\n");
    table(
        &mut out,
        &["name", "in", ""],
        names.iter().map(|n| vec![code(n.name), n.place.to_owned(), n.doc.to_owned()]),
    );
    out.push_str(
        "\n## Repositories\n\nWhat `where` may use. A field that a kind lacks is unknown; what stays unknown is not moved, \
         and reported.\n\n",
    );
    table(
        &mut out,
        &["field", "type", "of", "", "example"],
        repository
            .iter()
            .map(|f| vec![code(&f.path), f.kind.to_owned(), f.of.join(", "), f.doc.to_owned(), code(f.example)]),
    );
    out.push_str("\n## Plans\n\nWhat a policy's `condition` may use. `*` stands for a storage's name in GitLab.\n\n");
    table(
        &mut out,
        &["field", "type", ""],
        plan.iter().map(|f| vec![code(&f.path), f.kind.to_owned(), f.doc.to_owned()]),
    );
    out.push_str("\n## Faults\n\nThe kinds of `fault` blocks of a sandbox. How long each lasts goes by the fleet's clock (`speed`); only \
         `request_budget` and `Retry-After` count a client's own seconds.\n\n");
    table(&mut out, &["kind", ""], faults.iter().map(|f| vec![code(f.kind), sentence(f.doc)]));
    out.push_str(
        "\n## Functions\n\nTheir names and meaning are Terraform's. They are pure: no clock, no randomness.\n\n",
    );
    let parameters = |f: &Function| -> String {
        let parts: Vec<String> = f.parameters.iter().map(|p| format!("`{}`: {}", p.name, p.takes)).collect();
        parts.join("; ")
    };
    table(
        &mut out,
        &["function", "takes", "gives"],
        functions.iter().map(|f| vec![code(&f.signature), parameters(f), f.doc.to_owned()]),
    );
    out.push_str(
        "\n## Differences\n\nFunctions and operators give what Terraform's give; a test compares thousands of expressions. \
         These differ on purpose:\n\n",
    );
    differences.iter().for_each(|difference| out.push_str(&item(difference)));
    out
}

fn item(phrase: &str) -> String {
    format!("- {}\n", sentence(phrase))
}

fn link(block: &Block) -> String {
    format!("[`{0}`](#{0})", block.path)
}

fn marked(doc: &str, later: bool) -> String {
    if later { format!("{doc} (later)") } else { doc.to_owned() }
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

fn markdown_block(out: &mut String, block: &Block, level: usize) {
    let Block { path, header, many, doc, later, example, attributes, blocks } = block;
    let often = if *many { "any number of them" } else { "at most one" };
    let _ = write!(out, "\n{} {path}\n\n`{header}`, {often}. {}\n", "#".repeat(level), marked(doc, *later));
    if !attributes.is_empty() {
        out.push('\n');
        table(
            out,
            &["attribute", "type", "range", "unit", "default", ""],
            attributes.iter().map(|a| {
                vec![
                    code(a.name),
                    a.kind.clone(),
                    a.range.clone().unwrap_or_else(|| ANY.to_owned()),
                    a.unit.unwrap_or(NONE).to_owned(),
                    if a.required { "required".to_owned() } else { a.default.map_or_else(|| NONE.to_owned(), code) },
                    a.doc.to_owned(),
                ]
            }),
        );
    }
    if !example.is_empty() {
        let _ = write!(out, "\n```hcl\n{example}```\n");
    }
    blocks.iter().for_each(|inner| markdown_block(out, inner, level + 1));
}

fn table(out: &mut String, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let heads: Vec<String> = heads.iter().map(ToString::to_string).collect();
    out.push_str(&line(&heads));
    out.push_str(&line(&vec!["---".to_owned(); heads.len()]));
    for cells in rows {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        out.push_str(&line(&cells));
    }
}
