//! Makes the repositories of a new world with one `git fast-import` each, and commits to them later. Everything is
//! drawn from the seed: the same world has the same commits on every machine.

use std::fmt::Write as _;
use std::path::Path;

use fs_err as fs;

use super::super::content::Content as _;
use super::super::content::{ContentError, ContentResult};
use super::super::draw::{Draw, Seat, Settler, Shape};
use super::{Git, failed, files, git, output};
use crate::model::ContainerKind;

/// 2024-01-01: the first commit's date.
const FIRST: u64 = 1_704_067_200;

/// Makes a container's repositories and returns their sizes in bytes.
pub(super) fn repositories(content: &Git, settler: &Settler, seed: u64) -> ContentResult<Vec<u64>> {
    let mut sizes = Vec::new();
    for (index, plot) in settler.plots.iter().enumerate() {
        let main = index == 0;
        let project = settler.container.kind == ContainerKind::Project;
        let shape = if main { settler.shape } else { Shape::Ordinary };
        let folder = content.temporary(&settler.storage);
        if let Some(root) = settler.seat.as_ref().and_then(|seat| seat.root.as_ref()).filter(|_| main) {
            files::copy(&content.folder(&settler.storage, root), &folder).map_err(failed)?;
            // The copy is not where the pool is found from.
            files::inline(&content.folder(&settler.storage, root), &folder).map_err(failed)?;
        } else {
            let head: &[u8] = if shape == Shape::UnbornHead { b"refs/heads/gone" } else { b"refs/heads/main" };
            files::initialise(&folder, head, shape == Shape::Sha256).map_err(failed)?;
            if shape != Shape::Empty {
                let mut draw = Draw::new(seed, settler.seed(8).wrapping_add(index as u64 + 1_000_000));
                let kibibytes = if main && project { 4 << draw.below(7) } else { 4 };
                import(&folder, &story(&mut draw, &settler.name, shape, kibibytes))?;
            }
            if shape == Shape::ManyReferences {
                many(&folder).map_err(failed)?;
            }
        }
        if main && settler.lacks_object {
            lack(&folder)?;
        }
        let place = content.folder(&settler.storage, &plot.path);
        if place.exists() {
            // A first start that was cut short had come this far.
            fs::remove_dir_all(&place).map_err(failed)?;
        }
        files::install(&folder, &place).map_err(failed)?;
        if let Some(seat) = settler.seat.as_ref().filter(|_| main) {
            seated(content, settler, seat, &plot.path)?;
        }
        sizes.push(files::size(&place).map_err(failed)?);
    }
    Ok(sizes)
}

/// Has a repository borrow from its pool what it can, and gives it a branch that is its own.
fn seated(content: &Git, settler: &Settler, seat: &Seat, path: &str) -> ContentResult<()> {
    let storage = &settler.storage;
    if seat.root.is_none() {
        let stale = content.folder(storage, &seat.pool);
        if stale.exists() {
            fs::remove_dir_all(&stale).map_err(failed)?;
        }
        content.make_pool(storage, &seat.pool, path)?;
    }
    content.link(storage, path, &seat.pool)?;
    content.tidy(storage, path)?;
    let date = i64::try_from(FIRST + settler.container.id).unwrap_or(i64::MAX);
    let branch = format!("refs/heads/own-{}", settler.container.id);
    push(&content.folder(storage, path), branch.as_bytes(), false, "Begin what only this one has", date)
}

fn import(folder: &Path, stream: &[u8]) -> ContentResult<()> {
    let mut command = git(folder);
    // Loose objects, so that a fault can lose exactly one.
    command.args(["-c", "fastimport.unpackLimit=100000", "fast-import", "--quiet", "--date-format=raw"]);
    output(command, stream).map(drop)
}

struct Stream {
    bytes: Vec<u8>,
    mark: u32,
    date: u64,
}

impl Stream {
    fn data(&mut self, data: &str) {
        self.bytes.extend_from_slice(format!("data {}\n{data}\n", data.len()).as_bytes());
    }

    /// Commits one file to a branch and returns the commit's mark.
    fn commit(&mut self, branch: &[u8], from: Option<u32>, file: &str, text: &str, message: &str) -> u32 {
        self.mark += 1;
        self.date += 3_600;
        let who = format!("Ada Example <ada@example.com> {} +0000", self.date);
        self.bytes.extend_from_slice(b"commit ");
        self.bytes.extend_from_slice(branch);
        let head = format!("\nmark :{}\nauthor {who}\ncommitter {who}\n", self.mark);
        self.bytes.extend_from_slice(head.as_bytes());
        self.data(message);
        if let Some(from) = from {
            self.bytes.extend_from_slice(format!("from :{from}\n").as_bytes());
        }
        self.bytes.extend_from_slice(format!("M 100644 inline {file}\n").as_bytes());
        self.data(text);
        self.bytes.push(b'\n');
        self.mark
    }

    fn reset(&mut self, name: &[u8], to: u32) {
        self.bytes.extend_from_slice(b"reset ");
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(format!("\nfrom :{to}\n\n").as_bytes());
    }
}

/// The history of one repository as a fast-import stream. Every branch but `main` has a tip of its own.
fn story(draw: &mut Draw, path: &str, shape: Shape, kibibytes: u64) -> Vec<u8> {
    let mut stream = Stream { bytes: Vec::new(), mark: 0, date: FIRST + draw.below(30 * 86_400) };
    let mut main = Vec::new();
    let commits = 3 + draw.below(4);
    for n in 0..commits {
        // Hexadecimal noise does not compress to nothing: sizes differ as they should.
        let mut text = format!("# {path}\n\nRevision {n}.\n");
        for _ in 0..(kibibytes * 64 / commits) {
            let _ = write!(text, "{:016x}", draw.next());
        }
        let (from, file) = (main.last().copied(), if n == 0 { "README.md".to_owned() } else { format!("src/{n}.txt") });
        main.push(stream.commit(b"refs/heads/main", from, &file, &text, &format!("Write revision {n}")));
    }
    let (first, last) = (main[0], main[main.len() - 1]);
    for n in 0..=draw.below(3) {
        let name = if n == 0 { "refs/heads/topic".to_owned() } else { format!("refs/heads/feature-{n}") };
        let tip = stream.commit(name.as_bytes(), Some(first), "topic.txt", &format!("{n}\n"), "Begin a topic");
        stream.commit(name.as_bytes(), Some(tip), "topic.txt", &format!("{n}, done\n"), "End a topic");
    }
    stream.reset(b"refs/tags/v1.0", first);
    let tag = format!("tag v1.1\nfrom :{last}\ntagger Ada Example <ada@example.com> {} +0000\n", stream.date);
    stream.bytes.extend_from_slice(tag.as_bytes());
    stream.data("Release 1.1");
    match shape {
        Shape::OddNamespaces => {
            let names = [
                "custom/thing",
                "environments/prod/deployments/1",
                "keep-around/1",
                "merge-requests/1/head",
                "notes/commits",
                "remotes/origin/main",
            ];
            for name in names {
                stream.reset(format!("refs/{name}").as_bytes(), last);
            }
            stream.commit(b"refs/pipelines/17", Some(last), "pipeline.txt", "17\n", "Keep a pipeline's commit");
        }
        Shape::NotUtf8 => {
            stream.commit(b"refs/heads/caf\xe9", Some(last), "cafe.txt", "Latin-1\n", "Name a branch in Latin-1");
            stream.reset(b"refs/tags/\xfcber", first);
        }
        Shape::Ordinary | Shape::Empty | Shape::ManyReferences | Shape::Sha256 | Shape::UnbornHead => {}
    }
    stream.bytes
}

/// Adds 10,000 branches as packed references.
fn many(folder: &Path) -> std::io::Result<()> {
    let references = files::references(folder)?;
    let target = references.iter().find(|r| r.name == b"refs/heads/main").map_or("", |r| &r.target);
    let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted \n");
    for n in 0..10_000 {
        let _ = writeln!(packed, "{target} refs/heads/b{n:05}");
    }
    fs::write(folder.join("packed-refs"), packed)
}

/// Takes a commit out of the middle of the default branch's history.
fn lack(folder: &Path) -> ContentResult<()> {
    let mut command = git(folder);
    command.args(["rev-list", "refs/heads/main"]);
    let Ok(history) = output(command, b"") else { return Ok(()) };
    let history = String::from_utf8_lossy(&history).into_owned();
    match history.lines().nth(1).and_then(|id| files::loose_object(folder, id.as_bytes())) {
        Some(object) => fs::remove_file(object).map_err(failed),
        None => Ok(()),
    }
}

/// Commits a file to a branch, on top of what it has.
pub(super) fn push(folder: &Path, name: &[u8], on_top: bool, message: &str, date: i64) -> Result<(), ContentError> {
    let mut bytes = [b"commit ", name, b"\n"].concat();
    let who = format!("Grace Example <grace@example.com> {date} +0000");
    bytes.extend_from_slice(format!("author {who}\ncommitter {who}\ndata {}\n{message}\n", message.len()).as_bytes());
    if on_top {
        bytes.extend_from_slice(&[b"from ", name, b"^0\n"].concat());
    }
    bytes.extend_from_slice(
        format!("M 100644 inline pushed.txt\ndata {}\n{date}\n\n", date.to_string().len()).as_bytes(),
    );
    import(folder, &bytes)
}
