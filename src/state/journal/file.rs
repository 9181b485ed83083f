//! The file: frames written and read, packed and unpacked.

use std::io::{BufReader, ErrorKind, Read};
use std::ops::ControlFlow;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use jiff::Timestamp;

use super::{FILE, Log, MOST_BYTES, PACKED, Record, THAWED};

/// Appends records to the bytes of a journal.
pub fn encode(records: &[Record], into: &mut Vec<u8>) {
    for record in records {
        // A record is made of strings and numbers: it always serialises.
        let payload = serde_json::to_vec(record).unwrap_or_default();
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        into.extend(length.to_be_bytes());
        into.extend(crc(&payload).to_be_bytes());
        into.extend(payload);
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Payloads one after the other, to the first that is not whole.
pub(super) struct Payloads<R> {
    reader: R,
    payload: Vec<u8>,
    /// Bytes of the file up to the end of the last whole record.
    pub(super) whole: u64,
}

impl<R: Read> Payloads<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, payload: Vec::new(), whole: 0 }
    }

    /// The next one; `None` at the end, or where a torn tail or damage begins.
    pub(super) fn next(&mut self) -> std::io::Result<Option<&[u8]>> {
        let mut head = [0; 8];
        match self.reader.read_exact(&mut head) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let [a, b, c, d, e, f, g, h] = head;
        let (length, sum) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        if length > MOST_BYTES {
            return Ok(None);
        }
        self.payload.clear();
        let read = self.reader.by_ref().take(u64::from(length)).read_to_end(&mut self.payload)?;
        if read < length as usize || crc(&self.payload) != sum || !is_object(&self.payload) {
            return Ok(None);
        }
        self.whole += 8 + u64::from(length);
        Ok(Some(&self.payload))
    }
}

fn is_object(payload: &[u8]) -> bool {
    payload.starts_with(b"{") && payload.ends_with(b"}")
}

/// True when bytes begin with a whole record, of this version or another.
pub(super) fn is_record(bytes: &[u8]) -> bool {
    let whole = || {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (sum, rest) = rest.split_first_chunk::<4>()?;
        let length = Some(u32::from_be_bytes(*length)).filter(|length| *length <= MOST_BYTES)?;
        let payload = rest.get(..length as usize)?;
        Some(is_object(payload) && crc(payload) == u32::from_be_bytes(*sum))
    };
    whole().unwrap_or(false)
}

/// An open journal. Every append is durable when it returns.
#[derive(Debug)]
pub struct JournalFile {
    file: fs::File,
    buffer: Vec<u8>,
    /// An append failed, perhaps half-way: what would be written now could not be read.
    broken: bool,
}

impl JournalFile {
    /// Makes a run's folder and the journal in it.
    ///
    /// # Errors
    /// The file system's, with the path.
    pub fn create(folder: &Utf8Path) -> std::io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(FILE);
        if path.exists() {
            // What a crash tore off would hide all that is appended after it.
            let whole = Log::read(&path)?.whole();
            if whole < fs::metadata(&path)?.len() {
                let file = fs::OpenOptions::new().write(true).open(&path)?;
                file.set_len(whole)?;
                file.sync_all()?;
            }
        }
        let file = fs::OpenOptions::new().append(true).create(true).open(&path)?;
        for folder in folder.ancestors().take(3).filter(|f| !f.as_str().is_empty()) {
            fs::File::open(folder)?.sync_all()?;
        }
        Ok(Self { file, buffer: Vec::new(), broken: false })
    }

    /// Writes records and waits until they are on the disk: one fsync for all of them.
    ///
    /// # Errors
    /// The file system's, with the path.
    pub fn append(&mut self, records: &[Record]) -> std::io::Result<()> {
        use std::io::Write as _;
        if self.broken {
            return Err(std::io::Error::other("an earlier write to the journal failed"));
        }
        self.buffer.clear();
        encode(records, &mut self.buffer);
        let written = self.file.write_all(&self.buffer).and_then(|()| self.file.sync_data());
        self.broken = written.is_err();
        written
    }
}

/// The folders of runs, oldest first: a run's name begins with its time.
///
/// # Errors
/// The file system's, with the path.
pub(in crate::state) fn folders(runs: &Utf8Path) -> std::io::Result<Vec<Utf8PathBuf>> {
    if !runs.exists() {
        return Ok(Vec::new());
    }
    let mut folders =
        runs.read_dir_utf8()?.map(|entry| entry.map(camino::Utf8DirEntry::into_path)).collect::<Result<Vec<_>, _>>()?;
    folders.sort();
    Ok(folders)
}

/// Visits the records of a run's journal, packed or not, whose payloads begin with one of these, like `{"record":"soak"`:
/// others, with all their references, are not parsed; until one says to stop. A torn tail ends the journal, as it does for recovery.
///
/// # Errors
/// The file system's, with the path; a packed journal that is damaged.
pub(in crate::state) fn each(
    folder: &Utf8Path,
    tags: &[&[u8]],
    mut visit: impl FnMut(Record) -> ControlFlow<()>,
) -> std::io::Result<()> {
    let (plain, packed) = (folder.join(FILE), folder.join(PACKED));
    let reader: Box<dyn Read> = if plain.is_file() {
        Box::new(BufReader::new(fs::File::open(plain)?))
    } else if packed.is_file() {
        Box::new(BufReader::new(flate2::read::GzDecoder::new(fs::File::open(packed)?)))
    } else {
        return Ok(());
    };
    let mut payloads = Payloads::new(reader);
    while let Some(payload) = payloads.next()? {
        if tags.iter().any(|tag| payload.starts_with(tag))
            && let Ok(record) = serde_json::from_slice(payload)
            && visit(record).is_break()
        {
            break;
        }
    }
    Ok(())
}

/// Packs the journal of a finished run and deletes the oldest packed ones above `keep`, but for those that kept a repository
/// read-only since `recent`, by the fleet's clock: what they spent of a day's freeze is not to be spent again.
///
/// # Errors
/// The file system's, with the path.
pub fn pack(runs: &Utf8Path, run: &str, keep: usize, recent: Timestamp) -> std::io::Result<()> {
    let folder = runs.join(run);
    let packed = folder.join(PACKED);
    // Whoever takes up a run waits for this: fast, and half as small again would not matter.
    let mut gz = flate2::write::GzEncoder::new(fs::File::create(&packed)?, flate2::Compression::fast());
    std::io::copy(&mut fs::File::open(folder.join(FILE))?, &mut gz)?;
    gz.finish()?.sync_all()?;
    fs::remove_file(folder.join(FILE))?;
    let mut finished = folders(runs)?;
    finished.retain(|p| p.join(PACKED).is_file() && !p.join(FILE).exists());
    let surplus = finished.len().saturating_sub(keep);
    for old in finished.iter().take(surplus) {
        if !froze_since(old, recent) {
            fs::remove_dir_all(old)?;
        }
    }
    Ok(())
}

/// True when a run's journal has a freeze that began since then. One that cannot be read has none.
fn froze_since(folder: &Utf8Path, recent: Timestamp) -> bool {
    let mut found = false;
    let read = each(folder, &[THAWED], |record| match record {
        Record::Thawed { at, .. } if at >= recent => {
            found = true;
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    read.is_ok() && found
}
