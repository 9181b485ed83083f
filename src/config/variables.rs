//! Variables: their types, the values that are given for them, in the documented order, and their rules.

use std::collections::BTreeMap;

use super::check::Fields;
use super::scope::{Inner, Report, Scope};
use super::syntax::{self, Attribute, Block, Body};
use super::{Texts, VariableInputs};
use crate::diag::{Diagnostic, Diagnostics, Span, nearest};
use crate::expr::tree::{Call, Kind, Node};
use crate::expr::{self, Mismatch, Part, Type, Value, convert};

/// A declared variable.
pub(super) struct Variable<'a> {
    name: &'a str,
    block: &'a Block,
    wanted: Type,
    /// A value from the environment or `--var` is taken as it is, not as an expression.
    plain: bool,
    sensitive: bool,
    nullable: bool,
    default: Option<Value>,
}

/// A value that is given for a variable.
struct Given<'a> {
    value: Value,
    /// The expression that gives it, if it stands in a file.
    node: Option<&'a Node>,
    from: String,
}

/// Reads a declaration. Its own attributes are constants.
pub(super) fn declare<'a>(block: &'a Block, fields: &Fields, scope: &Scope, out: &mut Report) -> Option<Variable<'a>> {
    let [(name, _)] = block.labels.as_slice() else { return None };
    let written = block.body.attribute("type");
    let sensitive = fields.flag("sensitive").unwrap_or(false);
    let nullable = fields.flag("nullable").unwrap_or(true);
    let wanted = match written.map(|a| read_type(&a.value, scope)) {
        None => Type::Any,
        Some(Ok(wanted)) => wanted,
        Some(Err(diagnostic)) => {
            out.push(if sensitive { diagnostic.hushed() } else { *diagnostic });
            Type::Any
        }
    };
    let plain = written.is_none() || matches!(wanted, Type::String | Type::Number | Type::Bool);
    let mut default = fields.get("default").map(|e| e.value.clone());
    if let (Some(value), Some(attribute)) = (&default, block.body.attribute("default")) {
        match convert(value, &wanted) {
            Ok(value) => default = Some(value),
            Err(mismatch) => {
                let (at, rest) = attribute.value.part(&mismatch.path);
                let mismatch = Mismatch { path: rest.to_vec(), ..mismatch };
                out.push(
                    Diagnostic::error("config/variable-type", "Value does not fit the variable's type")
                        .detail(format!("The default of {name:?}: {mismatch}"))
                        .at(if sensitive { attribute.name_span } else { at.span })
                        .also(written.map_or(block.header, |a| a.value.span), "the type")
                        .help("Change the value or the type."),
                );
            }
        }
    } else if let Some(attribute) = block.body.attribute("default") {
        default = Some(Value::Null);
        if !nullable && matches!(attribute.value.kind, Kind::Literal(Value::Null)) {
            out.push(
                Diagnostic::error("config/null-variable", "Variable must not be null")
                    .detail(format!("The default of {name:?} is null, and `nullable = false` says that it never is."))
                    .at(attribute.value.span)
                    .help("Give another default, or none."),
            );
        }
    }
    Some(Variable { name, block, wanted, plain, sensitive, nullable, default })
}

/// Reads a type from the expression that writes it.
fn read_type(node: &Node, scope: &Scope) -> Result<Type, Box<Diagnostic>> {
    let wrong = |node: &Node, detail: &str| {
        Diagnostic::error("config/type", "Not a type")
            .detail(detail.to_owned())
            .at(node.span)
            .help("Types are string, number, bool, any, list(…), set(…), map(…), tuple([…]) and object({ name = … }).")
    };
    match &node.kind {
        Kind::Name(name) => match name.as_str() {
            "string" => Ok(Type::String),
            "number" => Ok(Type::Number),
            "bool" => Ok(Type::Bool),
            "any" => Ok(Type::Any),
            "list" => Ok(Type::List(Box::new(Type::Any))),
            "set" => Ok(Type::Set(Box::new(Type::Any))),
            "map" => Ok(Type::Map(Box::new(Type::Any))),
            other => {
                let known = ["string", "number", "bool", "any", "list", "set", "map", "tuple", "object"];
                let mut diagnostic = wrong(node, &format!("There is no type `{other}`."));
                if let Some(near) = nearest(other, known) {
                    diagnostic.help = Some(format!("Did you mean `{near}`?"));
                }
                Err(diagnostic.into())
            }
        },
        Kind::Call(Call { name, arguments, .. }) => match (name.as_str(), arguments.as_slice()) {
            ("list", [inner]) => Ok(Type::List(Box::new(read_type(inner, scope)?))),
            ("set", [inner]) => Ok(Type::Set(Box::new(read_type(inner, scope)?))),
            ("map", [inner]) => Ok(Type::Map(Box::new(read_type(inner, scope)?))),
            ("tuple", [Node { kind: Kind::List(items), .. }]) => {
                items.iter().map(|i| read_type(i, scope)).collect::<Result<_, _>>().map(Type::Tuple)
            }
            ("object", [Node { kind: Kind::Object(entries), .. }]) => {
                let mut attributes = BTreeMap::new();
                for (key, value) in entries {
                    let Kind::Literal(Value::String(name)) = &key.kind else {
                        return Err(wrong(key, "An attribute's name is a plain word.").into());
                    };
                    attributes.insert(name.clone(), read_attribute(value, scope)?);
                }
                Ok(Type::Object(attributes))
            }
            _ => Err(wrong(node, "This does not write a type.").into()),
        },
        Kind::Literal(Value::String(text)) => {
            Err(wrong(node, &format!("A type is written without quotes: {text}.")).into())
        }
        _ => Err(wrong(node, "This does not write a type.").into()),
    }
}

fn read_attribute(node: &Node, scope: &Scope) -> Result<expr::Attribute, Box<Diagnostic>> {
    if let Kind::Call(Call { name, arguments, .. }) = &node.kind
        && name == "optional"
        && let [inner, rest @ ..] = arguments.as_slice()
        && rest.len() <= 1
    {
        let wanted = read_type(inner, scope)?;
        let default = match rest.first() {
            None => Value::Null,
            Some(node) => convert(&expr::evaluate(node, scope)?, &wanted).map_err(|mismatch| {
                let (at, rest) = node.part(&mismatch.path);
                let mismatch = Mismatch { path: rest.to_vec(), ..mismatch };
                Diagnostic::error("config/optional-default", "Default does not fit the attribute's type")
                    .detail(format!("What stands for a part that is left out: {mismatch}"))
                    .at(at.span)
                    .also(inner.span, "the type")
                    .help("Change the value or the type.")
            })?,
        };
        return Ok(expr::Attribute { wanted, default: Some(default) });
    }
    Ok(expr::Attribute { wanted: read_type(node, scope)?, default: None })
}

/// Gives every variable its value: default, environment, `tranship.vars.hcl`, `--var-file`, `--var`; the last wins.
pub(super) fn assign(
    variables: &[Variable<'_>],
    files: &[(String, Body)],
    inputs: &VariableInputs,
    texts: &mut Texts,
    scope: &mut Scope,
    out: &mut Report,
) {
    let declared: BTreeMap<&str, &Variable<'_>> = variables.iter().map(|v| (v.name, v)).collect();
    let mut given: BTreeMap<&str, Given<'_>> = BTreeMap::new();
    let mut failed: Vec<&str> = Vec::new();
    for (name, text) in &inputs.environment {
        let name = name.strip_prefix("TRANSHIP_VAR_").unwrap_or(name);
        // The environment is shared with others: what is not declared here is not for us.
        if let Some((name, variable)) = declared.get_key_value(name) {
            match typed(variable, text, &format!("TRANSHIP_VAR_{name}"), texts, scope, out) {
                Some(value) => drop(given.insert(name, value)),
                None => failed.push(name),
            }
        }
    }
    for (file, body) in files {
        for block in &body.blocks {
            out.push(
                Diagnostic::error("config/variable-file", "Block in a file of values")
                    .detail(format!("{file:?} gives values to variables: it holds only lines like `name = value`."))
                    .at(block.header)
                    .help("Move the block into a file that does not end in .vars.hcl."),
            );
        }
        for attribute in &body.attributes {
            match declared.get_key_value(attribute.name.as_str()) {
                Some((name, variable)) => match from_file(variable, attribute, file, texts, scope, out) {
                    Some(value) => drop(given.insert(name, value)),
                    None => failed.push(name),
                },
                None => {
                    // It may be the misspelt name of one that is sensitive.
                    let near = nearest(&attribute.name, declared.keys().copied());
                    if near.and_then(|n| declared.get(n)).is_some_and(|v| v.sensitive) {
                        texts.mask(attribute.value.span);
                    }
                    out.push(undeclared(&attribute.name, file, &declared).at(attribute.name_span));
                }
            }
        }
    }
    for (name, text) in &inputs.assignments {
        match declared.get_key_value(name.as_str()) {
            Some((name, variable)) => match typed(variable, text, &format!("--var {name}"), texts, scope, out) {
                Some(value) => drop(given.insert(name, value)),
                None => failed.push(name),
            },
            None => out.push(undeclared(name, "--var", &declared)),
        }
    }
    for variable in variables {
        if variable.sensitive {
            scope.hide("var", variable.name);
        }
        let value = match given.get(variable.name) {
            Some(found) => settle(variable, found, out),
            None if failed.contains(&variable.name) => None,
            None => variable.default.clone().or_else(|| {
                out.push(
                    Diagnostic::error("config/missing-variable", "Missing variable")
                        .detail(format!("{:?} has no default, and no value is given for it.", variable.name))
                        .at(variable.block.header)
                        .help(format!(
                            "Give one: --var '{0}=…', the environment variable TRANSHIP_VAR_{0}, or a line `{0} = …` in tranship.vars.hcl.",
                            variable.name
                        )),
                );
                None
            }),
        };
        scope.set("var", variable.name, value);
    }
}

fn undeclared(name: &str, from: &str, declared: &BTreeMap<&str, &Variable<'_>>) -> Diagnostic {
    let mut diagnostic = Diagnostic::error("config/undeclared-variable", "Value for a variable that is not declared")
        .detail(format!("{from} gives a value for {name:?}, which no `variable` block declares."));
    diagnostic.help = Some(match nearest(name, declared.keys().copied()) {
        Some(near) => format!("Did you mean {near:?}?"),
        None => format!("Declare it: variable \"{name}\" {{ }}"),
    });
    diagnostic
}

/// A value typed as text: taken as it is for simple types, else read as an expression without names.
fn typed(
    variable: &Variable<'_>,
    text: &str,
    from: &str,
    texts: &mut Texts,
    scope: &Scope,
    out: &mut Report,
) -> Option<Given<'static>> {
    if variable.plain {
        return Some(Given { value: Value::from(text), node: None, from: from.to_owned() });
    }
    let shown = if variable.sensitive { String::new() } else { text.to_owned() };
    let source = texts.add(from.to_owned(), shown);
    let value = syntax::parse_expression(source, text).and_then(|node| expr::evaluate(&node, &scope.constants()));
    match value {
        Ok(value) => Some(Given { value, node: None, from: from.to_owned() }),
        Err(fault) if variable.sensitive => {
            out.push(
                Diagnostic::error(fault.code, fault.summary)
                    .detail(format!("In the value of {from}, which is sensitive and not shown.")),
            );
            None
        }
        Err(fault) => {
            out.push(*fault);
            None
        }
    }
}

fn from_file<'a>(
    variable: &Variable<'_>,
    attribute: &'a Attribute,
    file: &str,
    texts: &mut Texts,
    scope: &Scope,
    out: &mut Report,
) -> Option<Given<'a>> {
    if variable.sensitive {
        texts.mask(attribute.value.span);
    }
    match expr::evaluate(&attribute.value, &scope.constants()) {
        Ok(value) => Some(Given { value, node: Some(&attribute.value), from: file.to_owned() }),
        Err(fault) => {
            let mut fault = *fault;
            if variable.sensitive {
                fault = Diagnostic::error(fault.code, fault.summary).at(attribute.name_span);
            }
            if fault.code == "expr/unknown-name" {
                fault.detail = "A value for a variable is a constant: no names can be used in it.".to_owned();
            }
            out.push(fault);
            None
        }
    }
}

fn settle(variable: &Variable<'_>, given: &Given<'_>, out: &mut Report) -> Option<Value> {
    let place = |path: &[Part]| match given.node {
        Some(node) if variable.sensitive => Some(node.span),
        Some(node) => Some(node.part(path).0.span),
        None => None,
    };
    if given.value == Value::Null && !variable.nullable {
        if let Some(default) = &variable.default {
            return Some(default.clone());
        }
        out.push(
            Diagnostic::error("config/null-variable", "Variable must not be null")
                .detail(format!("{} gives null for {:?}, which is not nullable.", given.from, variable.name))
                .at(place(&[]).unwrap_or(variable.block.header))
                .help("Give another value, or none where there is a default."),
        );
        return None;
    }
    match convert(&given.value, &variable.wanted) {
        Ok(value) if !value.exceeds(super::DEPTH, super::SIZE) => {
            dropped(&given.value, &variable.wanted, &[], &mut |path, known| {
                out.push(unused(variable, given, place(path), path, known));
            });
            Some(value)
        }
        Ok(_) => {
            out.push(super::too_large(place(&[]).unwrap_or(variable.block.header)));
            None
        }
        Err(mismatch) => {
            let at = place(&mismatch.path);
            let rest = match given.node {
                Some(node) if !variable.sensitive => node.part(&mismatch.path).1.to_vec(),
                _ => mismatch.path.clone(),
            };
            let mismatch = Mismatch { path: rest, ..mismatch };
            let diagnostic = Diagnostic::error("config/variable-type", "Value does not fit the variable's type")
                .detail(format!("The value of {:?} from {}: {mismatch}", variable.name, given.from))
                .help("Change the value or the type.");
            out.push(match at {
                Some(span) => diagnostic.at(span).also(variable.block.header, "declared here"),
                None => diagnostic.at(variable.block.header),
            });
            None
        }
    }
}

/// Told of a place in a value, and of the attributes that its type has.
type Tell<'a, 't> = dyn FnMut(&[Part], &'t BTreeMap<String, expr::Attribute>) + 'a;

/// Finds attributes that a value has and its type lacks.
fn dropped<'t>(value: &Value, wanted: &'t Type, path: &[Part], tell: &mut Tell<'_, 't>) {
    let inner = |part: Part| path.iter().cloned().chain([part]).collect::<Vec<_>>();
    let key = |key: &String| inner(Part::Key(key.clone()));
    match (value, wanted) {
        (Value::Object(entries), Type::Object(attributes)) => {
            for (name, value) in entries.iter() {
                match attributes.get(name) {
                    Some(attribute) => dropped(value, &attribute.wanted, &key(name), tell),
                    None => tell(&key(name), attributes),
                }
            }
        }
        (Value::Object(entries), Type::Map(of)) => {
            entries.iter().for_each(|(name, value)| dropped(value, of, &key(name), tell));
        }
        (Value::List(items), Type::List(of) | Type::Set(of)) if !matches!(**of, Type::String | Type::Number) => {
            items.iter().enumerate().for_each(|(i, value)| dropped(value, of, &inner(Part::Element(i)), tell));
        }
        (Value::List(items), Type::Tuple(types)) => {
            let pairs = items.iter().zip(types).enumerate();
            pairs.for_each(|(i, (value, of))| dropped(value, of, &inner(Part::Element(i)), tell));
        }
        _ => {}
    }
}

/// The warning about an attribute that is given in vain.
fn unused(
    variable: &Variable<'_>,
    given: &Given<'_>,
    at: Option<Span>,
    path: &[Part],
    known: &BTreeMap<String, expr::Attribute>,
) -> Diagnostic {
    let shown: String = path.iter().map(ToString::to_string).collect();
    let mut diagnostic = Diagnostic::warning("config/unused-attribute", "Attribute without a use")
        .detail(format!("{} gives var.{}{shown}, which the variable's type does not have.", given.from, variable.name))
        .at(at.unwrap_or(variable.block.header));
    let names = known.keys().map(String::as_str);
    diagnostic.help = Some(match path.last() {
        Some(Part::Key(key)) if nearest(key, names.clone()).is_some() => {
            format!("Did you mean {:?}?", nearest(key, names).unwrap_or_default())
        }
        _ => "Remove it, or add it to the type.".to_owned(),
    });
    diagnostic
}

/// Hides the defaults of sensitive variables, and those within their types, in the texts that diagnostics show.
pub(super) fn hide_defaults(variables: &[Variable<'_>], texts: &mut Texts) {
    fn within(node: &Node, texts: &mut Texts) {
        match &node.kind {
            Kind::Call(Call { name, arguments, .. }) if name == "optional" => {
                arguments.iter().take(1).for_each(|inner| within(inner, texts));
                arguments.iter().skip(1).for_each(|default| texts.mask(default.span));
            }
            Kind::Call(call) => call.arguments.iter().for_each(|inner| within(inner, texts)),
            Kind::List(items) => items.iter().for_each(|inner| within(inner, texts)),
            Kind::Object(entries) => entries.iter().for_each(|(_, inner)| within(inner, texts)),
            _ => {}
        }
    }
    for variable in variables.iter().filter(|v| v.sensitive) {
        if let Some(default) = variable.block.body.attribute("default") {
            texts.mask(default.value.span);
        }
        if let Some(written) = variable.block.body.attribute("type") {
            within(&written.value, texts);
        }
    }
}

/// Asks the `validation` blocks.
pub(super) fn validate(variables: &[Variable<'_>], scope: &Scope, out: &mut Report) {
    for variable in variables {
        for rule in variable.block.body.blocks.iter().filter(|b| b.kind == "validation") {
            let (Some(condition), Some(message)) =
                (rule.body.attribute("condition"), rule.body.attribute("error_message"))
            else {
                continue;
            };
            let names = Inner { scope, extra: Vec::new() };
            if scope.touches_sensitive(&message.value) {
                out.push(super::check::shown_anyway("error_message", message.value.span));
                continue;
            }
            let message = match names.evaluate(&message.value, out) {
                Some(Value::String(text)) if text.trim().is_empty() => {
                    out.push(super::build::silent(message.value.span));
                    continue;
                }
                Some(Value::String(text)) => text,
                Some(Value::Unknown) | None => continue,
                Some(_) => "The value breaks the rule.".to_owned(),
            };
            match names.evaluate(&condition.value, out) {
                Some(Value::Bool(true) | Value::Unknown) | None => {}
                Some(Value::Bool(false)) => {
                    let mut diagnostic = Diagnostic::error("config/validation", "Invalid value for a variable")
                        .detail(if variable.sensitive {
                            "The value breaks the variable's rule.".to_owned()
                        } else {
                            message
                        })
                        .at(condition.value.span);
                    expr::explain(&condition.value, &names, &mut diagnostic);
                    out.push(diagnostic);
                }
                Some(other) => out.push(
                    Diagnostic::error("expr/wrong-type", "Wrong type")
                        .detail(format!("A condition must be a bool; this is {}.", other.kind()))
                        .at(condition.value.span),
                ),
            }
        }
    }
}

/// Collects what parsing a file of values found.
pub(super) fn parse_file(name: String, text: &str, texts: &mut Texts, diagnostics: &mut Diagnostics) -> (String, Body) {
    let source = texts.add(name.clone(), text.to_owned());
    (name, syntax::parse(source, text, diagnostics))
}
