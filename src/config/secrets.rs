//! Where secrets seem to stand in texts: found by their form alone, so that they are hidden also in a text that cannot be
//! read, and however they are quoted. Too much rather than too little.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use crate::diag::Diagnostic;

/// The form of GitLab's tokens: personal, OAuth, deploy, runner, job, trigger, feed, mail, agent, workspace, SCIM,
/// feature flags.
static TOKEN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)\bgl(?:pat|oas|dt|rt|rtr|cbt|ptt|ft|imt|agent|wt|soat|ffct)-[A-Za-z0-9_.-]+").ok()
});

/// What addresses hold: user and password before the `@`, and tokens among the parameters.
static IN_ADDRESS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let user = r#"\b[a-z]+://([^/@\s"]+)@"#;
    let parameter = r#"(?i)[?&][a-z_]*(?:token|passw[a-z]*|secret)=([^&\s"`#]+)"#;
    [user, parameter].into_iter().filter_map(|p| Regex::new(p).ok()).collect()
});

/// An attribute whose value is a secret by its name.
static NAMED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?m)^[^#\n]*?\b[A-Za-z0-9_]*(?:tok[a-z]*|passw[a-z]*)[ \t]*=\s*").ok());

/// The head of a `variable` block.
static VARIABLE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?m)^[ \t]*variable[ \t]+"?([^"\s{]+)"?[^{\n]*\{"#).ok());

/// Whether a text holds what looks like a token of GitLab.
pub(super) fn holds_token(text: &str) -> bool {
    TOKEN.as_ref().is_some_and(|token| token.is_match(text))
}

/// Hides in a diagnostic what looks like a token.
pub(super) fn scrub(diagnostic: &mut Diagnostic) {
    let values = diagnostic.values.iter_mut().map(|(_, value)| value);
    let labels = diagnostic.related.iter_mut().map(|(_, label)| label);
    for text in [&mut diagnostic.detail].into_iter().chain(&mut diagnostic.help).chain(values).chain(labels) {
        if let Some(token) = TOKEN.as_ref().filter(|token| token.is_match(text)) {
            *text = token.replace_all(text, "(a token)").into_owned();
        }
        let stretches = in_addresses(text);
        if !stretches.is_empty() {
            *text = masked(std::mem::take(text), &stretches);
        }
    }
}

fn in_addresses(text: &str) -> Vec<(usize, usize)> {
    let found = IN_ADDRESS.iter().flat_map(|p| p.captures_iter(text)).filter_map(|c| c.get(1));
    found.map(|m| (m.start(), m.end())).collect()
}

/// The variables that a configuration's texts declare as sensitive, or seem to.
pub(super) fn sensitive<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for text in texts {
        for (name, _, block) in variables(text) {
            if attributes(block, "sensitive").any(|at| !block.get(at..).unwrap_or_default().starts_with("false")) {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

/// Where a text seems to hold a secret: what is given to an attribute called token or password, what looks like a token of
/// GitLab, what addresses hold, and the defaults of sensitive variables.
pub(super) fn stretches(text: &str, sensitive: &BTreeSet<String>) -> Vec<(usize, usize)> {
    let mut found = in_addresses(text);
    found.extend(TOKEN.iter().flat_map(|p| p.find_iter(text)).map(|m| (m.start(), m.end())));
    for named in NAMED.iter().flat_map(|p| p.find_iter(text)) {
        found.extend(value(text, named.end(), true));
    }
    for (_, begins, block) in variables(text).filter(|(name, ..)| sensitive.contains(*name)) {
        found.extend(attributes(block, "default").flat_map(|at| value(text, begins + at, false)));
    }
    found
}

/// Where a file of values gives one to a sensitive variable.
pub(super) fn in_values(text: &str, sensitive: &BTreeSet<String>) -> Vec<(usize, usize)> {
    sensitive.iter().flat_map(|name| attributes(text, name)).flat_map(|at| value(text, at, false)).collect()
}

/// Hides in a text what seems to be a secret.
pub(super) fn mask_secrets(text: String) -> String {
    let stretches = stretches(&text, &sensitive(std::iter::once(text.as_str())));
    masked(text, &stretches)
}

/// Replaces stretches by asterisks, line by line: what is left has its places.
pub(super) fn masked(text: String, stretches: &[(usize, usize)]) -> String {
    if stretches.is_empty() {
        return text;
    }
    let mut bytes = text.into_bytes();
    for (start, end) in stretches {
        for byte in bytes.iter_mut().take(*end).skip(*start).filter(|b| **b != b'\n') {
            *byte = b'*';
        }
    }
    // Stretches begin and end at characters, so what is left is UTF-8.
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The `variable` blocks by their labels, each with where it begins, to the brace at a line's beginning that seems to close it.
fn variables(text: &str) -> impl Iterator<Item = (&str, usize, &str)> {
    VARIABLE.iter().flat_map(|p| p.captures_iter(text)).filter_map(|found| {
        let (whole, name) = (found.get(0)?, found.get(1)?);
        let rest = text.get(whole.end()..)?;
        Some((name.as_str(), whole.end(), rest.get(..closes(rest)).unwrap_or(rest)))
    })
}

/// Where something seems to end that was not closed: at a brace that stands first in its line, or with the text.
fn closes(rest: &str) -> usize {
    rest.find("\n}").unwrap_or(rest.len())
}

/// Where the values of an attribute of that name begin, in a body or on the line of its block's head.
fn attributes<'a>(body: &'a str, name: &str) -> impl Iterator<Item = usize> + use<'a> {
    let pattern = Regex::new(&format!(r"(?m)(?:^|[{{,;])[ \t]*{}[ \t]*=+\s*", regex::escape(name))).ok();
    let found: Vec<usize> = pattern.iter().flat_map(|p| p.find_iter(body)).map(|m| m.end()).collect();
    // A comparison is none.
    found.into_iter().filter(move |at| !body.get(..*at).unwrap_or_default().trim_end().ends_with("=="))
}

/// Where the value that begins here may hold a secret; `references`: what an object names, by `env` or `file`, is none.
fn value(text: &str, at: usize, references: bool) -> Vec<(usize, usize)> {
    let Some(rest) = text.get(at..) else { return Vec::new() };
    let line = rest.find('\n').unwrap_or(rest.len());
    match rest.as_bytes().first() {
        Some(b'<') => vec![(at, at + heredoc(rest))],
        Some(b'{' | b'[' | b'(') => {
            let end = bracket(rest);
            quoted(rest.get(..end).unwrap_or(rest), references).into_iter().map(|(a, b)| (at + a, at + b)).collect()
        }
        Some(b'"') => vec![(at, at + line)],
        // A name is none, and what else stands where only references may is told.
        _ if references => Vec::new(),
        _ => vec![(at, at + line)],
    }
}

/// The length of a heredoc with its introducer; to where it seems to end when nothing closes it.
fn heredoc(rest: &str) -> usize {
    let (first, body) = rest.split_once('\n').unwrap_or((rest, ""));
    let marker = first.trim_start_matches(['<', '-', '~']).trim();
    let mut length = first.len();
    for line in body.split('\n') {
        length += 1 + line.len();
        if !marker.is_empty() && line.trim() == marker {
            return length.min(rest.len());
        }
    }
    rest.len()
}

/// The length of what is in brackets; to where it seems to end when nothing closes it.
fn bracket(rest: &str) -> usize {
    let (mut depth, mut quote, mut escaped) = (0_usize, false, false);
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote => escaped = true,
            '"' => quote = !quote,
            '\n' if quote => break,
            _ if quote => {}
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' if depth == 1 => return at + 1,
            '}' | ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    closes(rest)
}

/// Each stretch from a quote to the next of its line, or to the line's end.
fn quoted(text: &str, references: bool) -> Vec<(usize, usize)> {
    static REFERENCE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"(?:^|[{,\n])[ \t]*(?:env|file|name|namespace|key)[ \t]*[=:][ \t]*$"#).ok());
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(quote) = text.get(at..).and_then(|rest| rest.find('"')).map(|i| at + i) {
        let rest = text.get(quote + 1..).unwrap_or_default();
        let end = rest.find(['"', '\n']).map_or(text.len(), |i| quote + 1 + i);
        let closed = text.as_bytes().get(end) == Some(&b'"');
        let reference = references
            && closed
            && REFERENCE.as_ref().is_some_and(|r| r.is_match(text.get(..quote).unwrap_or_default()));
        let end = (end + usize::from(closed)).min(text.len());
        if !reference {
            found.push((quote, end));
        }
        at = end.max(quote + 1);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        mask_secrets(text.to_owned())
    }

    #[test]
    fn what_is_given_to_a_token_is_hidden_however_it_is_written() {
        for text in [
            "gitlab {\n  token = \"canary\"\n}\n",
            "gitlab {\n  token = \"canary\n}\n",
            "gitlab {\n  token = <<EOT\ncanary\n",
            "gitlab {\n  token = <<-EOT\n  canary\n  EOT\n}\n",
            "gitlab {\n  token = {\n    file =\n      \"canary\"\n  }\n}\n",
            "gitlab { token={ value=\"canary\" } }",
            "gitlab {\n  token = [\"canary]\n}\n",
            "gitlab {\n  token =\n  \"canary\"\n}\n",
            "gitlab {\n  password = \"é-canary\"\n}\n",
            "gitlab {\n  url = \"https://x?private_token=canary&a=b\"\n}\n",
            "gitlab {\n  url = \"https://user:canary@x/\"\n}\n",
        ] {
            let masked = shown(text);
            assert!(!masked.contains("canary"), "{masked}");
            assert_eq!((masked.len(), masked.lines().count()), (text.len(), text.lines().count()), "{masked}");
        }
        for text in [
            "gitlab {\n  token = { env = \"GITLAB_TOKEN\" }\n}\n",
            "gitlab {\n  token = { file = \"token.txt\" } # \n}\n",
            "storage \"a\" {\n  token = gitlab.token\n}\n",
            "# token = \"\n",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn what_is_given_to_a_sensitive_variable_is_hidden_where_nothing_can_be_read() {
        for text in [
            "variable \"pw\" {\n  sensitive = true\n  default = \"canary\"\n}\n",
            "variable \"pw\" {\n  default = \"canary\" x\n  type = = string\n  sensitive = true\n}\n",
            "variable \"pw\" {\n  sensitive = \"yes\"\n  default = [\"canary\"\n}\n",
            "variable \"pw\" {\n  sensitive = true\n  default = <<EOT\ncanary\n}\n",
            "variable \"pw\" { sensitive = true }\nvariable \"pw\" { default = \"canary\" }\n",
        ] {
            assert!(!shown(text).contains("canary"), "{}", shown(text));
        }
        let open =
            "variable \"pw\" {\n  sensitive = false\n  default = \"told\"\n}\nvariable \"x\" {\n  default = 1\n}\n";
        assert_eq!(shown(open), open);
        let names = BTreeSet::from(["pw".to_owned()]);
        for text in [
            "pw = [\"canary]\n",
            "pw = \"canary\" \"x\"\n",
            "pw = <<EOT\ncanary\n",
            "  pw=canary\n",
            "pw = [\n\"canary\"\n",
        ] {
            let masked = masked(text.to_owned(), &in_values(text, &names));
            assert!(!masked.contains("canary"), "{masked}");
        }
        let other = "pwd = \"told\"\nx = var.pw == \"told\"\n";
        assert_eq!(masked(other.to_owned(), &in_values(other, &names)), other);
    }
}
