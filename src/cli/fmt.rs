//! `fmt`: puts configurations into canonical style. Needs no fleet and no state.

use std::fmt::Write as _;
use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::args;
use super::context::FOLDER;
use super::exit::Exit;
use super::failure::{Failure, Reason};
use super::terminal::Terminal;
use crate::config::fmt::{Formatter, LIMIT, masked};
use crate::state::store;
use crate::ui;

/// Lines shown around what a diff changes.
const CONTEXT: usize = 3;

/// What is to be formatted, with what went wrong on the way.
struct Work<'a> {
    args: &'a args::Fmt,
    terminal: &'a Terminal,
    formatter: Formatter,
    problems: Vec<(String, Option<String>)>,
    changed: bool,
}

/// Formats.
pub(super) fn fmt(terminal: &Terminal, args: &args::Fmt) -> Result<Exit, Failure> {
    let mut work = Work { args, terminal, formatter: Formatter::default(), problems: Vec::new(), changed: false };
    match args.paths.as_slice() {
        [only] if only == "-" => work.input()?,
        paths if paths.iter().any(|path| path == "-") => {
            return Err(Failure::with(
                Exit::Usage,
                "`-` stands alone: it is standard input, formatted to standard output",
                "Leave the files and folders out, or leave `-` out.",
            ));
        }
        [] => work.folder(Utf8Path::new(FOLDER))?,
        paths => paths.iter().try_for_each(|path| work.path(path))?,
    }
    let Work { formatter, problems, changed, .. } = work;
    let (diagnostics, sources) = formatter.finish();
    let mut exit = if args.check && changed { Exit::Changes } else { Exit::Done };
    if !diagnostics.is_empty() {
        terminal.talk(&ui::diagnostics(&diagnostics, &sources, terminal.err));
        exit = exit.and(Exit::Error);
    }
    if !problems.is_empty() {
        terminal.failure(&Failure { exit: Exit::Error, reason: Reason::Messages(problems) });
        exit = exit.and(Exit::Error);
    }
    Ok(exit)
}

impl Work<'_> {
    fn problem(&mut self, message: impl Into<String>, help: &str) {
        self.problems.push((message.into(), Some(help.to_owned())));
    }

    /// Formats standard input to standard output.
    fn input(&mut self) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        std::io::stdin().lock().take(LIMIT + 1).read_to_end(&mut bytes).map_err(|error| {
            Failure::new(format!("standard input cannot be read: {error}"), "Name a file instead of `-`.")
        })?;
        if bytes.len() as u64 > LIMIT {
            return Err(Failure::new(format!("standard input has more than {LIMIT} bytes"), "Format parts of it."));
        }
        const NAME: &str = "<stdin>";
        let Some(formatted) = self.formatter.format(NAME, bytes.clone()) else { return Ok(()) };
        self.changed = formatted.as_bytes() != bytes;
        if self.args.diff {
            self.terminal.data(&diff("stdin", &bytes, &formatted))
        } else if self.args.check {
            Ok(())
        } else {
            self.terminal.exactly(&formatted)
        }
    }

    /// Formats what was named.
    fn path(&mut self, path: &Utf8Path) -> Result<(), Failure> {
        if path.is_dir() {
            return self.folder(path);
        }
        let folder = path.parent().filter(|parent| !parent.as_str().is_empty()).unwrap_or(Utf8Path::new(FOLDER));
        if !path.is_symlink() && !path.exists() {
            self.problem(format!("{path}: there is no such file or folder"), "Name *.hcl files, or folders with some.");
        } else if !path.as_str().ends_with(".hcl") {
            const HELP: &str = "Another text is formatted from standard input: tranship fmt - < FILE";
            self.problem(format!("{path}: only files whose names end in .hcl are formatted"), HELP);
        } else if let Some(target) = leads_out(path, &[Utf8Path::new(FOLDER), folder]) {
            let message = format!("{path}: a link that leads out of its folder, to {target}; it is not followed");
            self.problem(message, "Name the file itself.");
        } else {
            return self.file(path);
        }
        Ok(())
    }

    /// Formats a folder's files; with `--recursive` also those of the folders in it. Links to folders and what is
    /// hidden are left out.
    fn folder(&mut self, root: &Utf8Path) -> Result<(), Failure> {
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            let listed = || folder.read_dir_utf8()?.map(|entry| entry.map(|e| e.into_path())).collect();
            let mut entries: Vec<Utf8PathBuf> = match listed() {
                Ok(entries) => entries,
                Err(error) => {
                    let error: std::io::Error = error;
                    self.problem(format!("{folder}: the folder cannot be read: {error}"), "Check its name and rights.");
                    continue;
                }
            };
            entries.sort();
            let mut inner = Vec::new();
            for path in entries {
                let Some(name) = path.file_name().filter(|name| !name.starts_with('.')) else { continue };
                let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
                if path.is_dir() {
                    inner.extend((self.args.recursive && !path.is_symlink()).then_some(path));
                } else if !name.ends_with(".hcl") {
                    continue;
                } else if let Some(target) = leads_out(&path, &[root]) {
                    self.terminal.talk(&format!(
                        "{path}: a link that leads out of the folder, to {target}; it is not followed.\n"
                    ));
                } else {
                    self.file(&path)?;
                }
            }
            inner.reverse();
            folders.append(&mut inner);
        }
        Ok(())
    }

    /// Formats a file.
    fn file(&mut self, path: &Utf8Path) -> Result<(), Failure> {
        if path.exists() && !path.is_file() {
            self.problem(format!("{path}: this is no regular file"), "Name a *.hcl file.");
            return Ok(());
        }
        let Some(old) = self.formatter.read(path) else { return Ok(()) };
        let Some(new) = self.formatter.format(path.as_str(), old.clone()) else { return Ok(()) };
        if new.as_bytes() == old {
            return Ok(());
        }
        if self.args.write && !self.args.check && !self.write(path, &old, &new) {
            return Ok(());
        }
        self.changed = true;
        self.terminal.data(path.as_str())?;
        if self.args.diff { self.terminal.data(&diff(path.as_str(), &old, &new)) } else { Ok(()) }
    }

    /// Replaces a file; true when that was done.
    fn write(&mut self, path: &Utf8Path, old: &[u8], new: &str) -> bool {
        // What is replaced by a new file would not be asked for its permission.
        if fs_err::metadata(path).is_ok_and(|data| data.permissions().readonly()) {
            self.problem(format!("{path}: it is read-only, and stays as it is"), "Make it writable: chmod u+w FILE");
            return false;
        }
        if fs_err::read(path).is_ok_and(|now| now != old) {
            self.problem(format!("{path}: it was changed meanwhile, and stays as it is"), "Run the command again.");
            return false;
        }
        if let Err(error) = store::replace(path, new.as_bytes()) {
            self.problem(
                format!("{path}: it cannot be written, and stays as it is: {error}"),
                "Free some space or correct the folder's permissions.",
            );
            return false;
        }
        true
    }
}

/// Where a link leads that leads out of all these folders. A link to nothing leads nowhere.
fn leads_out(path: &Utf8Path, roots: &[&Utf8Path]) -> Option<Utf8PathBuf> {
    let target = path.is_symlink().then(|| path.canonicalize_utf8().ok()).flatten()?;
    let inside = |root: &&Utf8Path| root.canonicalize_utf8().is_ok_and(|root| target.starts_with(root));
    (!roots.iter().any(inside)).then_some(target)
}

/// The difference as a patch; what looks like a secret is masked in it. Formatting neither adds nor takes lines away, so
/// each stands beside its own.
fn diff(name: &str, old: &[u8], new: &str) -> String {
    let (old, new) = (masked(String::from_utf8_lossy(old).into_owned()), masked(new.to_owned()));
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    let most = old.len().max(new.len());
    let changed: Vec<usize> = (0..most).filter(|i| old.get(*i) != new.get(*i)).collect();
    let mut out = format!("--- old/{name}\n+++ new/{name}\n");
    for hunk in changed.chunk_by(|a, b| b - a <= 2 * CONTEXT + 1) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { continue };
        let (from, to) = (first.saturating_sub(CONTEXT), (last + 1 + CONTEXT).min(most));
        let range = |lines: &[&str]| {
            let count = lines.len().min(to).saturating_sub(from);
            // An empty range stands behind the line before it.
            format!("{},{count}", if count == 0 { from } else { from + 1 })
        };
        let _ = writeln!(out, "@@ -{} +{} @@", range(&old), range(&new));
        let line = |out: &mut String, sign: char, text: Option<&&str>| {
            let Some(text) = text else { return };
            out.push(sign);
            out.push_str(text);
            if !text.ends_with('\n') {
                out.push_str("\n\\ No newline at end of file\n");
            }
        };
        let same = |i: &usize| old.get(*i) == new.get(*i);
        let lines: Vec<usize> = (from..to).collect();
        for run in lines.chunk_by(|a, b| same(a) == same(b)) {
            let changed = !run.first().is_some_and(same);
            run.iter().for_each(|i| line(&mut out, if changed { '-' } else { ' ' }, old.get(*i)));
            run.iter().filter(|_| changed).for_each(|i| line(&mut out, '+', new.get(*i)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_is_a_patch() {
        let old = "a=1\nb = 2\nc = 3\nd = 4\ne = 5\nf = 6\ng = 7\nh = 8\ni=9\nj=10";
        let new = "a = 1\nb = 2\nc = 3\nd = 4\ne = 5\nf = 6\ng = 7\nh = 8\ni = 9\nj = 10";
        assert_eq!(
            diff("x.hcl", old.as_bytes(), new),
            "--- old/x.hcl\n+++ new/x.hcl\n@@ -1,4 +1,4 @@\n-a=1\n+a = 1\n b = 2\n c = 3\n d = 4\n\
             @@ -6,5 +6,5 @@\n f = 6\n g = 7\n h = 8\n-i=9\n-j=10\n\\ No newline at end of file\n+i = 9\n+j = 10\n\
             \\ No newline at end of file\n"
        );
        assert_eq!(
            diff("x", b"a = 1\n  ", "a = 1\n"),
            "--- old/x\n+++ new/x\n@@ -1,2 +1,1 @@\n a = 1\n-  \n\\ No newline at end of file\n"
        );
        assert_eq!(diff("x", b"  ", ""), "--- old/x\n+++ new/x\n@@ -1,1 +0,0 @@\n-  \n\\ No newline at end of file\n");
        let secret = diff("x", b"token=\"abc\"\n", "token = \"abc\"\n");
        assert!(!secret.contains("abc") && secret.contains("-token=****"), "{secret}");
    }
}
