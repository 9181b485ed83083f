//! What finished moves taught of how long moves take, kept between runs in `.tranship/durations.json`. A help, not a record:
//! without it, or when it is damaged, plans go by the assumption.

use std::collections::BTreeMap;

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::plan::Observations;
use crate::state::store;

/// The version of the file; another one is not read.
const FORMAT: u32 = 1;
/// A file above this is not ours: what is kept is bounded to a few hundred numbers per pair of storages.
const MOST_BYTES: u64 = 64 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct File {
    format: u32,
    /// By environment: two of them may share a folder.
    environments: BTreeMap<String, Observations>,
}

impl Default for File {
    fn default() -> Self {
        Self { format: FORMAT, environments: BTreeMap::new() }
    }
}

/// Reads the file; `Err`: why it cannot be used, in a line.
fn read(file: &Utf8Path) -> Result<File, String> {
    match fs_err::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Ok(metadata) if metadata.len() > MOST_BYTES => return Err(format!("{file} is larger than it ever gets")),
        _ => {}
    }
    let text = fs_err::read(file).map_err(|error| error.to_string())?;
    let found: File = serde_json::from_slice(&text).map_err(|error| format!("{file}: {error}"))?;
    if found.format != FORMAT {
        return Err(format!("{file} has the format {}, this version reads {FORMAT}", found.format));
    }
    Ok(found)
}

/// What is known of an environment, and a warning where the file cannot be used.
pub(super) fn load(file: &Utf8Path, environment: &str) -> (Observations, Option<String>) {
    match read(file) {
        Ok(mut found) => (found.environments.remove(environment).unwrap_or_default(), None),
        Err(cause) => {
            let warning = format!(
                "Warning: how long earlier moves took is not known: {cause}. It is ignored; the next apply writes it anew."
            );
            (Observations::default(), Some(warning))
        }
    }
}

/// Keeps what is known of an environment, beside that of others.
///
/// # Errors
/// The file cannot be written.
pub(super) fn save(file: &Utf8Path, environment: &str, observations: &Observations) -> Result<(), String> {
    let mut content = read(file).unwrap_or_default();
    content.environments.insert(environment.to_owned(), observations.clone());
    let mut text = serde_json::to_string(&content).map_err(|error| error.to_string())?;
    text.push('\n');
    if let Some(folder) = file.parent() {
        fs_err::create_dir_all(folder).map_err(|error| error.to_string())?;
    }
    store::replace(file, text.as_bytes()).map_err(|error| format!("{file}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bytes, StorageName};

    #[test]
    fn what_is_kept_comes_back_and_environments_do_not_mix() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = Utf8Path::from_path(folder.path()).expect("UTF-8").join(".tranship/durations.json");
        assert_eq!(load(&file, "a"), (Observations::default(), None));
        let mut seen = Observations::default();
        let name = |text: &str| StorageName::new(text).expect("a name");
        seen.add(&name("old"), &name("new"), Bytes(5), 4_000);
        save(&file, "a", &seen).expect("saved");
        save(&file, "b", &Observations::default()).expect("saved");
        assert_eq!(load(&file, "a"), (seen, None));
        assert_eq!(load(&file, "b"), (Observations::default(), None));
    }

    #[test]
    fn a_damaged_file_is_told_ignored_and_written_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = Utf8Path::from_path(folder.path()).expect("UTF-8").join("durations.json");
        for text in ["", "{", "[]", "{\"format\":2,\"environments\":{}}", "{\"format\":1}", "\u{0}\u{1}"] {
            fs_err::write(&file, text).expect("written");
            let (found, warning) = load(&file, "a");
            assert!(found.is_empty() && warning.is_some_and(|w| w.contains("durations.json")), "{text:?}");
        }
        save(&file, "a", &Observations::default()).expect("saved");
        assert_eq!(load(&file, "a").1, None);
    }
}
