//! The operator's own side: programs are run, approvals are small files, vetoes are files and addresses.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::apply::port::{Approval, HookEnd, Operator, PortError, PortErrorKind, PortResult};
use crate::model::{Address, Hook, VetoSource};

/// So much of what a program wrote last is kept.
const TAIL: usize = 2_000;
/// An address that is a veto answers within this, or it holds.
const ASK: Duration = Duration::from_secs(10);
/// What a program left behind may hold its pipes for so long after its end.
const DRAIN: Duration = Duration::from_secs(2);
/// An approval is small.
const MOST_BYTES: u64 = 64 << 10;

/// Programs, approvals and vetoes of one configuration's folder.
#[derive(Debug)]
pub struct LiveOperator {
    folder: Utf8PathBuf,
    approvals: Utf8PathBuf,
    secrets: BTreeSet<String>,
    client: reqwest::Client,
}

impl LiveOperator {
    /// `folder`: the configuration's, where relative paths begin. `approvals`: the folder of the approvals' files.
    /// `secrets`: environment variables that hold secrets, which no program is given.
    pub fn new(folder: &Utf8Path, approvals: &Utf8Path, secrets: BTreeSet<String>) -> Self {
        super::install_tls_provider();
        let client = reqwest::Client::builder().timeout(ASK).redirect(reqwest::redirect::Policy::none()).build();
        let (folder, approvals) = (folder.to_owned(), approvals.to_owned());
        Self { folder, approvals, secrets, client: client.unwrap_or_default() }
    }
}

/// The file of a gate's approval: all but letters, digits, `-` and `_` is escaped.
pub fn approval_file(approvals: &Utf8Path, gate: &Address) -> Utf8PathBuf {
    use std::fmt::Write as _;
    let text = gate.to_string();
    let mut name = String::new();
    for byte in text.strip_prefix("gate.").unwrap_or(&text).bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02x}");
        }
    }
    approvals.join(name + ".json")
}

/// Writes an approval: whole or not at all.
///
/// # Errors
/// The file system's, with the path.
pub fn approve(approvals: &Utf8Path, gate: &Address, approval: &Approval) -> std::io::Result<()> {
    use std::io::Write as _;
    fs::create_dir_all(approvals)?;
    let file = approval_file(approvals, gate);
    let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
    let mut written = fs::File::create(&temporary)?;
    let text = serde_json::to_string_pretty(approval).map_err(std::io::Error::other)?;
    written.write_all(text.as_bytes())?;
    written.write_all(b"\n")?;
    written.sync_all()?;
    fs::rename(&temporary, &file)
}

/// The approval that waits for a gate, if one can be read.
pub fn given(approvals: &Utf8Path, gate: &Address) -> Option<Approval> {
    let text = fs::read_to_string(approval_file(approvals, gate)).ok()?;
    serde_json::from_str(&text).ok()
}

fn failed(call: String, error: impl std::fmt::Display) -> PortError {
    PortError::new(PortErrorKind::Protocol, call, error.to_string())
}

/// Reads all, keeps the end.
async fn tail(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0u8; 4096]);
    while let Ok(number @ 1..) = from.read(&mut buffer).await {
        kept.extend_from_slice(buffer.get(..number).unwrap_or_default());
        if kept.len() > 16 * TAIL {
            kept.drain(..kept.len() - 4 * TAIL);
        }
    }
    kept
}

/// The end of what a program wrote, as text without control characters.
fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text: String = text.chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect();
    let skip = text.trim_end().chars().count().saturating_sub(TAIL);
    text.trim_end().chars().skip(skip).collect()
}

#[async_trait]
impl Operator for LiveOperator {
    async fn run_hook(&self, hook: &Hook, input: &Value) -> PortResult<HookEnd> {
        let call = format!("hook {}", hook.name);
        let Some((program, arguments)) = hook.exec.split_first() else {
            return Err(failed(call, "it names no program"));
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own children end with it.
            .process_group(0)
            .kill_on_drop(true);
        for name in &self.secrets {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(|e| failed(format!("{call}: {program}"), e))?;
        let group = child.id();
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let text = input.to_string();
        let written = tokio::spawn(async move {
            if let Some(mut stdin) = stdin {
                // A program that does not read it is as good.
                let _ = stdin.write_all(text.as_bytes()).await;
            }
        });
        let read = tokio::spawn(async move {
            let out = async { if let Some(out) = stdout { tail(out).await } else { Vec::new() } };
            let err = async { if let Some(err) = stderr { tail(err).await } else { Vec::new() } };
            let (mut out, err) = tokio::join!(out, err);
            out.extend(err);
            out
        });
        let status = tokio::time::timeout(Duration::from_secs(hook.timeout_seconds), child.wait()).await;
        if status.is_err() {
            end(group).await;
            let _ = child.start_kill();
            let _ = child.wait().await;
        }
        written.abort();
        let output = tokio::time::timeout(DRAIN, read).await.ok().and_then(Result::ok).unwrap_or_default();
        let code = match status {
            Ok(Ok(status)) => status.code(),
            Ok(Err(e)) => return Err(failed(call, e)),
            Err(_) => None,
        };
        Ok(HookEnd { code, output: readable(&output) })
    }

    async fn approval(&self, gate: &Address) -> PortResult<Option<Approval>> {
        let file = approval_file(&self.approvals, gate);
        let error = |e: &dyn std::fmt::Display| PortError {
            help: Some(format!("Remove the file and approve again: tranship approve {}", gate.label)),
            ..PortError::new(PortErrorKind::Protocol, format!("the approval {file}"), e.to_string())
        };
        match fs::metadata(&file) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(error(&e)),
            Ok(found) if found.len() > MOST_BYTES => return Err(error(&"it is too long to be an approval")),
            Ok(_) => {}
        }
        let text = fs::read_to_string(&file).map_err(|e| error(&e))?;
        serde_json::from_str(&text).map(Some).map_err(|e| error(&e))
    }

    async fn approval_used(&self, gate: &Address) -> PortResult<()> {
        let file = approval_file(&self.approvals, gate);
        match fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed(format!("the approval {file}"), e)),
            _ => Ok(()),
        }
    }

    async fn veto(&self, source: &VetoSource) -> PortResult<Option<String>> {
        match source {
            VetoSource::Query(_) => Err(failed("a veto".to_owned(), "a query is asked of Prometheus")),
            VetoSource::File(path) => {
                let file = self.folder.join(path);
                match fs::read(&file) {
                    Ok(content) => {
                        let first = readable(&content).lines().next().unwrap_or_default().trim().to_owned();
                        let reason = if first.is_empty() { "it is there".to_owned() } else { first };
                        Ok(Some(format!("{path}: {reason}")))
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(e) => Err(failed(format!("the veto {file}"), e)),
                }
            }
            VetoSource::Url(url) => match self.client.get(url).send().await {
                Ok(answer) if answer.status().as_u16() == 200 => Ok(None),
                Ok(answer) => Ok(Some(format!("{url} answered {}", answer.status().as_u16()))),
                Err(e) => Ok(Some(format!("{url} did not answer: {}", e.without_url()))),
            },
        }
    }
}

/// Ends a program's whole group.
async fn end(group: Option<u32>) {
    if let Some(group) = group {
        let mut kill = Command::new("kill");
        kill.args(["-KILL", "--", &format!("-{group}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let _ = kill.status().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(folder: &tempfile::TempDir) -> LiveOperator {
        let path = Utf8Path::from_path(folder.path()).expect("UTF-8");
        LiveOperator::new(path, &path.join("approvals"), BTreeSet::from(["PATH_TO_SECRET".to_owned()]))
    }

    fn hook(script: &str, timeout_seconds: u64) -> Hook {
        let exec = ["sh", "-c", script].map(str::to_owned).to_vec();
        Hook { name: "test".to_owned(), exec, on: BTreeSet::new(), timeout_seconds }
    }

    #[tokio::test]
    async fn a_program_gets_its_input_and_its_end_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let operator = operator(&folder);
        let input = serde_json::json!({ "wave": "sample" });
        let end = operator.run_hook(&hook("cat; pwd -P; echo no >&2; exit 3", 60), &input).await.expect("run");
        let here = folder.path().canonicalize().expect("there");
        assert_eq!(end, HookEnd { code: Some(3), output: format!("{{\"wave\":\"sample\"}}{}\nno", here.display()) });
        let long =
            operator.run_hook(&hook("yes abcdefghi | head -n 10000; printf end", 60), &input).await.expect("run");
        assert!(long.code == Some(0) && long.output.ends_with("end") && long.output.chars().count() == TAIL);
        let absent = Hook { exec: vec!["./absent".to_owned()], ..hook("", 1) };
        assert!(
            operator.run_hook(&absent, &input).await.expect_err("absent").to_string().contains("hook test: ./absent")
        );
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_ended_with_its_children() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "echo begun; sleep 300 & echo $! > child; wait";
        let end = operator(&folder).run_hook(&hook(script, 1), &Value::Null).await.expect("run");
        assert_eq!(end, HookEnd { code: None, output: "begun".to_owned() });
        let child = fs::read_to_string(folder.path().join("child")).expect("a child");
        // It was told to die, and does so when it is scheduled next.
        let began = std::time::Instant::now();
        loop {
            let state = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "{state}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn an_approval_is_found_once_and_its_file_has_a_harmless_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let operator = operator(&folder);
        let gate = Address::new("gate", "a/../b").with_key("x");
        assert_eq!(operator.approval(&gate).await, Ok(None));
        let given = Approval { by: "ann".to_owned(), reason: "it is fine".to_owned() };
        approve(&operator.approvals, &gate, &given).expect("written");
        assert_eq!(approval_file(Utf8Path::new("d"), &gate), "d/a%2f%2e%2e%2fb%5b%22x%22%5d.json");
        assert_eq!(operator.approval(&gate).await, Ok(Some(given)));
        assert_eq!(operator.approval(&Address::new("gate", "other")).await, Ok(None));
        operator.approval_used(&gate).await.expect("removed");
        operator.approval_used(&gate).await.expect("removed already");
        assert_eq!(operator.approval(&gate).await, Ok(None));
        fs::write(approval_file(&operator.approvals, &gate), "{").expect("written");
        assert!(operator.approval(&gate).await.is_err(), "a damaged approval is none");
    }

    #[tokio::test]
    async fn vetoes_hold_while_their_file_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let operator = operator(&folder);
        let file = VetoSource::File("STOP".to_owned());
        assert_eq!(operator.veto(&file).await, Ok(None));
        fs::write(folder.path().join("STOP"), "incident 7\nmore").expect("written");
        assert_eq!(operator.veto(&file).await, Ok(Some("STOP: incident 7".to_owned())));
        // Nobody listens there: what cannot be asked holds.
        let url = VetoSource::Url("http://127.0.0.1:9/".to_owned());
        assert!(operator.veto(&url).await.expect("an answer").is_some());
    }
}
