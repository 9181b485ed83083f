//! Finds and reads the files of a configuration, refuses what is no text, and keeps the texts that diagnostics show.

use std::collections::BTreeSet;
use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::VariableInputs;
use super::scope::{FILE_LIMIT, Report, unreadable};
use super::secrets;
use crate::diag::{Diagnostic, SourceId, SourceMap, Span};

/// The texts of a run. What diagnostics show of them may be masked; what is hashed is not.
#[derive(Default)]
pub(super) struct Texts {
    texts: Vec<(String, String)>,
    masks: Vec<Span>,
    /// Names of files that give values to variables.
    values: BTreeSet<String>,
}

impl Texts {
    pub(super) fn add(&mut self, name: String, text: String) -> SourceId {
        let id = SourceId(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        self.texts.push((name, text));
        id
    }

    /// Adds of a file that is no text the line that says so, at its number, and gives the place in it. What cannot be
    /// shown is replaced.
    fn offender(&mut self, name: &str, bytes: &[u8], at: usize) -> Span {
        /// Shown before and after the place, in bytes.
        const WIDTH: usize = 1000;
        let before = bytes.get(..at).unwrap_or_default();
        let begin = before.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let shown = |bytes: &[u8]| -> String {
            let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
            let line = String::from_utf8_lossy(line.get(..WIDTH).unwrap_or(line));
            line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
        };
        let mut text = "\n".repeat(before.iter().filter(|b| **b == b'\n').count());
        text.push_str(&shown(before.get(begin..).unwrap_or_default()));
        let start = text.len();
        text.push_str(&shown(bytes.get(at..).unwrap_or_default()));
        let end = start + text.get(start..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
        Span { source: self.add(name.to_owned(), text), start: number(start), end: number(end) }
    }

    /// Hides a stretch in what is shown.
    pub(super) fn mask(&mut self, span: Span) {
        self.masks.push(span);
    }

    /// Names and texts as they were read.
    pub(super) fn configuration(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().filter(|(name, _)| name.ends_with(".hcl")).map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The texts as diagnostics may show them: same lengths, secrets replaced by asterisks.
    pub(super) fn finish(self) -> SourceMap {
        let mut map = SourceMap::default();
        let sensitive = secrets::sensitive(self.texts.iter().map(|(_, text)| text.as_str()));
        for (i, (name, text)) in self.texts.into_iter().enumerate() {
            let id = SourceId(u32::try_from(i).unwrap_or(u32::MAX));
            let mut stretches: Vec<(usize, usize)> =
                self.masks.iter().filter(|s| s.source == id).map(|s| (s.start as usize, s.end as usize)).collect();
            stretches.extend(secrets::stretches(&text, &sensitive));
            if self.values.contains(&name) {
                stretches.extend(secrets::in_values(&text, &sensitive));
            }
            map.add(name, secrets::masked(text, &stretches));
        }
        map
    }
}

/// The files of a configuration, names relative to its folder.
#[derive(Default)]
pub(super) struct Found {
    pub(super) configuration: Vec<(String, String)>,
    /// `tranship.vars.hcl` and then each `--var-file`.
    pub(super) values: Vec<(String, String)>,
}

/// Reads a folder.
pub(super) fn folder(folder: &Utf8Path, inputs: &VariableInputs, texts: &mut Texts, out: &mut Report) -> Found {
    let mut found = Found::default();
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            out.push(
                Diagnostic::error("config/folder", "Cannot read the configuration's folder")
                    .detail(unreadable_folder(&named(folder), &error))
                    .help("Name the folder with -C."),
            );
            return found;
        }
    };
    let mut names = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => {
                let written = entry.file_name();
                let name = written.to_string_lossy().into_owned();
                if written.to_str().is_none() && name.ends_with(".hcl") {
                    out.push(
                        Diagnostic::error("config/file", "Cannot read a file")
                            .detail(format!("The name of a file is not UTF-8: {written:?}."))
                            .help("Rename it."),
                    );
                } else if name.ends_with(".hcl") && !name.ends_with(".vars.hcl") && !name.starts_with('.') {
                    names.push(name);
                }
            }
            Err(error) => out.push(
                Diagnostic::error("config/folder", "Cannot read the configuration's folder")
                    .detail(format!("{error}.")),
            ),
        }
    }
    names.sort();
    if names.is_empty() {
        out.push(
            Diagnostic::error("config/empty", "No configuration")
                .detail(format!("There is no file whose name ends in .hcl in {}.", named(folder)))
                .help("Name the configuration's folder with -C, or write a first file with a `sandbox` or `gitlab` block."),
        );
    }
    for name in names {
        let text = text(&folder.join(&name), &name, Kind::File, texts, out);
        found.configuration.extend(text.map(|t| (name, t)));
    }
    const VALUES: &str = "tranship.vars.hcl";
    let path = folder.join(VALUES);
    // A link to nothing is no file that is left out.
    texts.values.extend(std::iter::once(VALUES.to_owned()).chain(inputs.files.iter().cloned()));
    if path.exists() || path.is_symlink() {
        found.values.extend(text(&path, VALUES, Kind::File, texts, out).map(|t| (VALUES.to_owned(), t)));
    }
    for name in &inputs.files {
        let path: Utf8PathBuf = folder.join(name);
        found.values.extend(text(&path, name, Kind::Any, texts, out).map(|t| (name.clone(), t)));
    }
    found
}

/// A folder's name for people: of the one that a program works in, its own.
fn named(folder: &Utf8Path) -> String {
    let real = if folder == "." { folder.canonicalize_utf8().ok() } else { None };
    match real.as_deref().and_then(Utf8Path::file_name) {
        Some(name) => format!("the folder {name:?}"),
        None => folder.to_string(),
    }
}

/// Why a folder cannot be read, in words.
fn unreadable_folder(name: &str, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => format!("There is no {name}."),
        std::io::ErrorKind::PermissionDenied => format!("The rights of {name} do not allow to read it."),
        std::io::ErrorKind::NotADirectory => format!("This is no folder: {name}."),
        _ => format!("{error}."),
    }
}

/// What may be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file: one that was found and not named could wait for ever, or have no end.
    File,
    /// Also a pipe, which was named: `--var-file <(decrypt values)`.
    Any,
}

/// Reads one text, without its byte order mark.
fn text(path: &Utf8Path, name: &str, kind: Kind, texts: &mut Texts, out: &mut Report) -> Option<String> {
    let bytes = bytes(path, name, kind, texts, out)?;
    decode(name, bytes, texts, out)
}

/// Reads one file as it is.
pub(super) fn bytes(path: &Utf8Path, name: &str, kind: Kind, texts: &mut Texts, out: &mut Report) -> Option<Vec<u8>> {
    let mut refuse = |code, summary: &str, detail: String, span: Option<Span>, help: &str| {
        out.push(Diagnostic::error(code, summary).detail(detail).at(span).help(help));
        None
    };
    let size = match fs_err::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            return refuse("config/file", "Cannot read a file", format!("{name:?} is a folder."), None, "Rename it.");
        }
        Ok(metadata) if !metadata.is_file() && kind == Kind::File => {
            let detail = format!("{name:?} is no regular file.");
            return refuse("config/file", "Cannot read a file", detail, None, "Rename it.");
        }
        Ok(metadata) => metadata.len(),
        Err(error) => {
            let detail = unreadable(name, &error);
            return refuse("config/file", "Cannot read a file", detail, None, "Check the name and its rights.");
        }
    };
    let mut bytes = Vec::new();
    if size <= FILE_LIMIT {
        let read = fs_err::File::open(path).and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            let detail = unreadable(name, &error);
            return refuse("config/file", "Cannot read a file", detail, None, "Check its rights.");
        }
    }
    let size = size.max(bytes.len() as u64);
    if size > FILE_LIMIT {
        let detail = format!("{name:?} has {size} bytes; at most {FILE_LIMIT} are read.");
        let help = "Make many instances with `for_each` instead of writing each.";
        let span = texts.offender(name, &[], 0);
        return refuse("config/file-size", "File too large", detail, Some(span), help);
    }
    Some(bytes)
}

/// Makes a text of what was read, without its byte order mark.
pub(super) fn decode(name: &str, bytes: Vec<u8>, texts: &mut Texts, out: &mut Report) -> Option<String> {
    let mut no_text = |bytes: &[u8], at: usize, what: &str| {
        let span = texts.offender(name, bytes, at);
        let detail = format!("{name:?} {what} at byte {at}, counted from 0.");
        let diagnostic = Diagnostic::error("config/encoding", "Not a text").detail(detail).at(span);
        out.push(diagnostic.help("Save it as UTF-8 text."));
        None
    };
    if let Some(at) = bytes.iter().position(|b| *b == 0) {
        return no_text(&bytes, at, "has a NUL byte");
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
        Err(error) => no_text(error.as_bytes(), error.utf8_error().valid_up_to(), "is not UTF-8"),
    }
}
