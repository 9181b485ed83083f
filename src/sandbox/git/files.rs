//! A bare repository's files, read and written without `git`: references, folders, sizes.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use jiff::Timestamp;

use super::super::content::Measure;
use crate::model::Reference;

/// True for what git takes for a repository.
pub(super) fn is_repository(folder: &Path) -> bool {
    folder.join("HEAD").is_file() && folder.join("objects").is_dir() && folder.join("refs").is_dir()
}

/// Makes an empty bare repository whose HEAD names `head`.
pub(super) fn initialise(folder: &Path, head: &[u8], sha256: bool) -> io::Result<()> {
    for sub in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
        fs::create_dir_all(folder.join(sub))?;
    }
    let format = if sha256 { 1 } else { 0 };
    let mut config = format!("[core]\n\trepositoryformatversion = {format}\n\tfilemode = true\n\tbare = true\n");
    if sha256 {
        config.push_str("[extensions]\n\tobjectformat = sha256\n");
    }
    fs::write(folder.join("config"), config)?;
    fs::write(folder.join("HEAD"), [b"ref: ", head, b"\n"].concat())
}

/// Puts a finished folder where it belongs.
pub(super) fn install(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::rename(from, to)
}

/// Copies a folder with everything in it. A file that is there already is left: objects of one name are the same.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if !target.exists() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The file that names the object folders that a repository borrows from.
fn alternates(folder: &Path) -> PathBuf {
    folder.join("objects/info/alternates")
}

/// The object folder that a repository borrows from, if it does.
pub(super) fn borrowed(folder: &Path) -> io::Result<Option<PathBuf>> {
    let file = alternates(folder);
    if !file.exists() {
        return Ok(None);
    }
    let text = fs::read(file)?;
    let first = text.split(|b| *b == b'\n').find(|line| !line.is_empty() && line[0] != b'#');
    Ok(first.map(|line| folder.join("objects").join(std::ffi::OsStr::from_bytes(line))))
}

/// Has a repository borrow from the objects of another: `up` leads from its objects to the storage's root.
pub(super) fn borrow(folder: &Path, up: &str, pool: &str) -> io::Result<()> {
    fs::create_dir_all(folder.join("objects/info"))?;
    fs::write(alternates(folder), format!("{up}{pool}/objects\n"))
}

/// Makes a copy whole: what its original borrows becomes its own.
pub(super) fn inline(original: &Path, folder: &Path) -> io::Result<()> {
    let Some(pool) = borrowed(original)? else { return Ok(()) };
    fs::remove_file(alternates(folder))?;
    for entry in fs::read_dir(pool)? {
        let entry = entry?;
        if entry.file_name() != "info" {
            copy(&entry.path(), &folder.join("objects").join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// `sha1` or `sha256`, from the repository's config.
pub(super) fn object_format(folder: &Path) -> io::Result<String> {
    let config = fs::read_to_string(folder.join("config"))?;
    let sha256 = config.lines().any(|line| {
        let line: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        line.eq_ignore_ascii_case("objectformat=sha256")
    });
    Ok(if sha256 { "sha256" } else { "sha1" }.to_owned())
}

/// The file of an object that is named in full and lies loose.
pub(super) fn loose_object(folder: &Path, id: &[u8]) -> Option<PathBuf> {
    let id = std::str::from_utf8(id).ok().filter(|id| matches!(id.len(), 40 | 64))?;
    if !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let (fan, rest) = id.split_at_checked(2)?;
    let file = folder.join("objects").join(fan).join(rest);
    file.is_file().then_some(file)
}

/// All references in byte-wise order of names, `HEAD` before them if it resolves.
pub(super) fn references(folder: &Path) -> io::Result<Vec<Reference>> {
    let mut values: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let packed = folder.join("packed-refs");
    if packed.exists() {
        for line in fs::read(packed)?.split(|b| *b == b'\n').filter(|l| !matches!(l.first(), None | Some(b'#' | b'^')))
        {
            if let Some(space) = line.iter().position(|b| *b == b' ') {
                let (target, name) = line.split_at(space);
                values.insert(name[1..].to_vec(), target.to_vec());
            }
        }
    }
    loose(&folder.join("refs"), b"refs", &mut values)?;
    values.insert(b"HEAD".to_vec(), fs::read(folder.join("HEAD"))?.trim_ascii_end().to_vec());
    let mut all: Vec<Reference> = values
        .iter()
        .filter_map(|(name, value)| Some(Reference { name: name.clone(), target: resolve(&values, value)? }))
        .collect();
    if let Some(at) = all.iter().position(|r| r.name == b"HEAD") {
        all[..=at].rotate_right(1);
    }
    Ok(all)
}

/// Follows symbolic references to an object's id; `None` when one names nothing.
fn resolve<'a>(values: &'a BTreeMap<Vec<u8>, Vec<u8>>, mut value: &'a [u8]) -> Option<String> {
    for _ in 0..5 {
        match value.strip_prefix(b"ref: ") {
            Some(name) => value = values.get(name.trim_ascii())?,
            None => return String::from_utf8(value.to_vec()).ok(),
        }
    }
    None
}

fn loose(folder: &Path, prefix: &[u8], values: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let name = [prefix, b"/", file_name.as_bytes()].concat();
        if entry.file_type()?.is_dir() {
            loose(&entry.path(), &name, values)?;
        } else if !name.ends_with(b".lock") {
            values.insert(name, fs::read(entry.path())?.trim_ascii_end().to_vec());
        }
    }
    Ok(())
}

/// Sums the sizes of all files.
pub(super) fn size(folder: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() { size(&entry.path())? } else { meta.len() };
    }
    Ok(sum)
}

/// Sizes as RepositoryInfo tells them.
pub(super) fn measure(folder: &Path) -> io::Result<Measure> {
    let mut loose_values = BTreeMap::new();
    loose(&folder.join("refs"), b"refs", &mut loose_values)?;
    let packed = folder.join("packed-refs");
    Ok(Measure {
        size: size(folder)?,
        objects: size(&folder.join("objects"))?,
        loose_references: loose_values.len() as u64,
        packed_references: if packed.exists() { fs::metadata(packed)?.len() } else { 0 },
    })
}

/// Finds all repositories below a storage's root, except what begins with `+` there.
pub(super) fn walk(folder: &Path, at: String, found: &mut Vec<(String, Timestamp)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if at.is_empty() { name } else { format!("{at}/{name}") };
        if path.starts_with('+') {
            continue;
        }
        if is_repository(&entry.path()) {
            let changed = entry.metadata()?.modified().ok().and_then(|t| Timestamp::try_from(t).ok());
            found.push((path, changed.unwrap_or(Timestamp::UNIX_EPOCH)));
        } else {
            walk(&entry.path(), path, found)?;
        }
    }
    Ok(())
}
