//! What expressions of a configuration may name, and the files that functions may read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use super::secrets::mask_secrets;
use super::syntax;
use crate::diag::{Diagnostic, Diagnostics, SourceId, Span, line_and_column, line_at};
use crate::expr::tree::Node;
use crate::expr::{Files, Names, Value, evaluate};

/// The names of a configuration, filled step by step.
pub(super) struct Scope {
    roots: BTreeMap<String, Value>,
    sensitive: BTreeSet<(String, String)>,
    /// Set after an error: what depends on it is unknown and not told again.
    partial: bool,
    pub(super) files: Folder,
}

impl Scope {
    pub(super) fn new(folder: &Utf8Path) -> Self {
        let mut roots = BTreeMap::new();
        for (i, unit) in ["KiB", "MiB", "GiB", "TiB"].into_iter().enumerate() {
            roots.insert(unit.to_owned(), Value::from(1024u64 << (10 * i)));
        }
        for root in ["var", "local", "storage", "pod_spec", "gate", "hook", "window"] {
            roots.insert(root.to_owned(), Value::object::<String>([]));
        }
        let files = Folder { root: folder.to_owned(), read: RefCell::default() };
        Self { roots, sensitive: BTreeSet::new(), partial: false, files }
    }

    /// Sets `root.name`.
    pub(super) fn set(&mut self, root: &str, name: &str, value: Option<Value>) {
        self.partial |= value.is_none();
        if let Some(Value::Object(entries)) = self.roots.get_mut(root) {
            Arc::make_mut(entries).insert(name.to_owned(), value.unwrap_or(Value::Unknown));
        }
    }

    /// Makes `root.name` known before it has a value, so that suggestions can name it.
    pub(super) fn reserve(&mut self, root: &str, name: &str) {
        if let Some(Value::Object(entries)) = self.roots.get_mut(root) {
            Arc::make_mut(entries).insert(name.to_owned(), Value::Unknown);
        }
    }

    /// Marks `root.name`: its value must not be shown.
    pub(super) fn hide(&mut self, root: &str, name: &str) {
        self.sensitive.insert((root.to_owned(), name.to_owned()));
    }

    /// True when an expression names something that must not be shown.
    pub(super) fn touches_sensitive(&self, node: &Node) -> bool {
        let mut found = false;
        if !self.sensitive.is_empty() {
            node.free_names(&mut |root, attribute, _| found |= self.is_sensitive(root, attribute));
        }
        found
    }

    /// The names that a value given from outside may use: none.
    #[expect(clippy::unused_self, reason = "reads well where values are evaluated")]
    pub(super) fn constants(&self) -> BTreeMap<String, Value> {
        BTreeMap::new()
    }

    /// Everything that variables came to, printed: for the digest.
    pub(super) fn variables(&self) -> String {
        self.roots.get("var").map(ToString::to_string).unwrap_or_default()
    }
}

impl Names for Scope {
    fn get(&self, name: &str) -> Option<&Value> {
        self.roots.get(name)
    }

    fn roots(&self) -> Vec<String> {
        self.roots.keys().cloned().collect()
    }

    fn missing(&self, root: &str, name: &str) -> Option<String> {
        Some(match root {
            "var" => format!("Declare it: variable \"{name}\" {{ … }}."),
            "local" => format!("Define it in a `locals` block: {name} = …"),
            // What an instance or a gate has is given.
            "each" | "target" | "repository" | "plan" => return None,
            _ => format!("Declare it: {root} \"{name}\" {{ … }}."),
        })
    }

    fn is_sensitive(&self, root: &str, attribute: Option<&str>) -> bool {
        match attribute {
            Some(name) => self.sensitive.contains(&(root.to_owned(), name.to_owned())),
            None => self.sensitive.iter().any(|(r, _)| r == root),
        }
    }

    fn is_partial(&self) -> bool {
        self.partial
    }

    fn files(&self) -> Option<&dyn Files> {
        Some(&self.files)
    }
}

/// A scope with names of its own on top: `each` of an instance, `target` of a gate's query.
pub(super) struct Inner<'a> {
    pub(super) scope: &'a Scope,
    pub(super) extra: Vec<(&'static str, Value)>,
}

impl Inner<'_> {
    /// Evaluates; what went wrong with something sensitive is told without its text.
    pub(super) fn evaluate(&self, node: &Node, out: &mut Report) -> Option<Value> {
        match evaluate(node, self) {
            Ok(value) => Some(value),
            Err(fault) => {
                out.push(self.safe(node, self.of_instance(node, *fault)));
                None
            }
        }
    }

    /// Says of which instance a diagnostic is, when that may matter.
    fn of_instance(&self, node: &Node, mut fault: Diagnostic) -> Diagnostic {
        let each = self.extra.iter().find(|(name, _)| *name == "each");
        let (mut asks, named) = (false, |(name, _): &(String, String)| name == "each.key");
        node.free_names(&mut |root, _, _| asks |= root == "each");
        if let Some((_, Value::Object(entries))) = each
            && let Some(key) = entries.get("key").filter(|_| asks && !fault.values.iter().any(named))
        {
            fault.values.insert(0, ("each.key".to_owned(), format!("is {}", key.summary())));
        }
        fault
    }

    /// Takes the details out of a diagnostic about something sensitive.
    pub(super) fn safe(&self, node: &Node, fault: Diagnostic) -> Diagnostic {
        // What is wrong with the words of an expression tells of no value.
        let plain = matches!(fault.code, "expr/unknown-function" | "expr/arguments" | "expr/unknown-name");
        if self.scope.touches_sensitive(node) && !plain { fault.hushed() } else { fault }
    }
}

impl Names for Inner<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.extra.iter().find(|(known, _)| *known == name).map(|(_, value)| value).or_else(|| self.scope.get(name))
    }

    fn roots(&self) -> Vec<String> {
        let extra = self.extra.iter().map(|(name, _)| (*name).to_owned());
        self.scope.roots().into_iter().chain(extra).collect()
    }

    fn missing(&self, root: &str, name: &str) -> Option<String> {
        self.scope.missing(root, name)
    }

    fn is_sensitive(&self, root: &str, attribute: Option<&str>) -> bool {
        self.scope.is_sensitive(root, attribute)
    }

    fn is_partial(&self) -> bool {
        self.scope.partial
    }

    fn files(&self) -> Option<&dyn Files> {
        self.scope.files()
    }
}

/// What was found so far. The same thing at the same place is told once, however many instances have it.
#[derive(Default)]
pub(super) struct Report {
    pub(super) diagnostics: Diagnostics,
    /// Stretches of texts that must not be shown.
    pub(super) masks: Vec<Span>,
    told: BTreeSet<(&'static str, Option<Span>, usize)>,
}

impl Report {
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        // Without a place, each is its own.
        let without = if diagnostic.span.is_none() { self.diagnostics.items.len() + 1 } else { 0 };
        if self.told.insert((diagnostic.code, diagnostic.span, without)) {
            self.diagnostics.push(diagnostic);
        }
    }
}

/// Files below one folder.
pub(super) struct Folder {
    root: Utf8PathBuf,
    /// What was read or looked for, for the digest.
    pub(super) read: RefCell<BTreeMap<String, Option<String>>>,
}

/// Largest file that is read, in bytes.
pub(super) const FILE_LIMIT: u64 = 64 << 20;

impl Folder {
    fn path(&self, path: &str) -> Result<Utf8PathBuf, String> {
        let given = Utf8Path::new(path);
        let inside = given.components().all(|c| matches!(c, Utf8Component::Normal(_) | Utf8Component::CurDir));
        if path.contains('\0') {
            return Err(format!("{path:?} holds a NUL character, which no path has."));
        }
        if path.is_empty() || !inside {
            return Err(format!("{path:?} is not a path below the configuration's folder."));
        }
        let full = self.root.join(given);
        // A link must not lead out either: what a configuration comes to stands in its folder. One to nothing leads nowhere.
        if let (Ok(root), Ok(real)) = (self.root.canonicalize(), full.canonicalize())
            && !real.starts_with(root)
        {
            return Err(format!(
                "{path:?} is a link, or lies behind one, that leads out of the configuration's folder."
            ));
        }
        Ok(full)
    }
}

/// Why a file cannot be read, in words.
pub(super) fn unreadable(name: &str, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file {name:?}."),
        std::io::ErrorKind::PermissionDenied => format!("the rights of {name:?} do not allow to read it."),
        _ => format!("{error}."),
    }
}

impl Files for Folder {
    fn read(&self, path: &str) -> Result<String, String> {
        let full = self.path(path)?;
        let metadata = fs_err::metadata(&full).map_err(|e| unreadable(path, &e))?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a folder" } else { "no regular file" };
            return Err(format!("{path:?} is {what}."));
        }
        let size = metadata.len();
        if size > FILE_LIMIT {
            return Err(format!("{path:?} has {size} bytes; at most {FILE_LIMIT} are read."));
        }
        let bytes = fs_err::read(&full).map_err(|e| unreadable(path, &e))?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{path:?} is not UTF-8."))?;
        self.read.borrow_mut().insert(path.to_owned(), Some(text.clone()));
        Ok(text)
    }

    fn exists(&self, path: &str) -> Result<bool, String> {
        let full = self.path(path)?;
        if full.is_dir() {
            return Err(format!("{path:?} is a folder."));
        }
        let found = full.is_file();
        self.read.borrow_mut().entry(path.to_owned()).or_insert_with(|| found.then(String::new));
        Ok(found)
    }

    fn template(&self, path: &str, text: &str) -> Result<Node, String> {
        let nowhere = SourceId(u32::MAX);
        syntax::parse_template(nowhere, text).map_err(|d| {
            let at = d.span.map(|span| (line_and_column(text, span.start), line_at(text, span.start)));
            let (place, line) = at.unwrap_or_default();
            format!("{path}{place}: {d}\n{}", self.shown(line))
        })
    }

    fn shown(&self, line: &str) -> String {
        mask_secrets(line.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::NAMES;

    #[test]
    fn the_reference_has_all_names() {
        let told: BTreeSet<String> = NAMES
            .iter()
            .flat_map(|(names, _, _)| names.split(", "))
            .map(|name| name.split('.').next().unwrap_or_default().to_owned())
            .collect();
        let inner = ["each", "repository", "plan", "target"].map(str::to_owned);
        let known: BTreeSet<String> = Scope::new(Utf8Path::new(".")).roots().into_iter().chain(inner).collect();
        assert_eq!(told, known);
    }
}
