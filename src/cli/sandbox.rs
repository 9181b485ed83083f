//! `sandbox`: the embedded fleet, served for other clients, looked at, or made anew.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::args::{SandboxCommand, SandboxServe, Variables};
use super::context::{self, Context};
use super::exit::Exit;
use super::failure::Failure;
use crate::model::{Connection, Container, SandboxConnection, StorageName};
use crate::sandbox::{self, Endpoints};
use crate::state::store::FILE_NAME;

/// Runs a `sandbox` command.
pub(super) async fn sandbox(context: &Context, command: &SandboxCommand) -> Result<Exit, Failure> {
    match command {
        SandboxCommand::Serve(args) => serve(context, args).await,
        SandboxCommand::Reset { state } => reset(context, *state).await,
        SandboxCommand::Status => status(context),
        SandboxCommand::Repair { variables, container } => repair(context, variables, *container).await,
        SandboxCommand::Know { variables, storage } => know(context, variables, storage).await,
    }
}

/// The configuration's `sandbox` block.
fn block(context: &Context, variables: &Variables) -> Result<SandboxConnection, Failure> {
    match context::load(&context.terminal, variables)?.desired.connection {
        Connection::Sandbox(spec) => Ok(spec),
        _ => Err(Failure::new(
            "the configuration has no `sandbox` block",
            "Add one, or take a configuration that has one: tranship -C examples/first-move sandbox serve",
        )),
    }
}

/// Does what a person does at GitLab's console for a container that was left read-only.
/// Finds the fleet, or starts it.
async fn found(context: &Context, variables: &Variables) -> Result<Endpoints, Failure> {
    let spec = block(context, variables)?;
    let dir = context::world(&spec.name)?;
    let exe = std::env::current_exe().map_err(|error| {
        Failure::new(format!("this program's own file cannot be found: {error}"), "Start it by its full path.")
    })?;
    Ok(sandbox::ensure(&dir, &exe, &spec).await?)
}

/// What an administrator does in GitLab's configuration for a storage that is new.
async fn know(context: &Context, variables: &Variables, storage: &StorageName) -> Result<Exit, Failure> {
    let endpoints = found(context, variables).await?;
    sandbox::know(&endpoints, storage).await?;
    context.terminal.talk(&format!("GitLab knows {storage}.\n"));
    Ok(Exit::Done)
}

async fn repair(context: &Context, variables: &Variables, container: Container) -> Result<Exit, Failure> {
    let memory = super::fleet::InMemory::wanted(&block(context, variables)?)?;
    let ended = match memory.and_then(|memory| memory.handle.repair(container)) {
        Some(ended) => ended,
        None => sandbox::repair(&found(context, variables).await?, container).await?,
    };
    let ended: Vec<String> = ended.iter().map(|id| format!("Move {id} is failed. ")).collect();
    context.terminal.talk(&format!("{}{container} is writable.\n", ended.concat()));
    Ok(Exit::Done)
}

/// Serves until a signal comes. With `--dir` it is the background process of some other command, and says nothing.
async fn serve(context: &Context, args: &SandboxServe) -> Result<Exit, Failure> {
    let idle = args.idle.map(Duration::from_secs);
    if let Some(dir) = &args.dir {
        sandbox::serve(dir, None, idle, &mut |_| ()).await?;
        return Ok(Exit::Done);
    }
    let spec = block(context, &args.variables)?;
    let dir = context::world(&spec.name)?;
    let terminal = context.terminal;
    let mut announce = move |endpoints: &Endpoints| {
        // The fleet's tokens are its own, made for it, and worth nothing elsewhere.
        let _ = terminal.data(&environment(endpoints));
        terminal.talk("The fleet serves until Ctrl-C.\n");
    };
    sandbox::serve(&dir, Some(spec), idle, &mut announce).await?;
    Ok(Exit::Done)
}

/// What a client of the fleet needs, for `eval`.
fn environment(endpoints: &Endpoints) -> String {
    let mut lines = vec![
        format!("export GITLAB_URL={}", endpoints.gitlab_url),
        format!("export GITLAB_TOKEN={}", endpoints.gitlab_token),
        format!("export GITALY_TOKEN={}", endpoints.gitaly_token),
        format!("export KUBERNETES_URL={}", endpoints.kubernetes_url),
        format!("export KUBERNETES_TOKEN={}", endpoints.kubernetes_token),
    ];
    for (name, authority) in &endpoints.gitaly {
        let variable: String = name
            .as_str()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        lines.push(format!("export GITALY_ADDRESS_{variable}=tcp://{authority}"));
    }
    lines.join("\n")
}

/// The folders of all worlds below this configuration, sorted.
fn worlds() -> Result<Vec<Utf8PathBuf>, Failure> {
    let folder = Utf8Path::new(context::FOLDER).join(".tranship/sandbox");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let failed = |error: std::io::Error| Failure::new(format!("{folder}: {error}"), "The folder must be readable.");
    let folder = folder.canonicalize_utf8().map_err(failed)?;
    let entries = folder.read_dir_utf8().map_err(failed)?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            found.push(entry.into_path());
        }
    }
    found.sort();
    Ok(found)
}

async fn reset(context: &Context, state: bool) -> Result<Exit, Failure> {
    let terminal = &context.terminal;
    let _lock = context::lock("sandbox reset")?;
    let worlds = worlds()?;
    for world in &worlds {
        sandbox::reset(world).await?;
        if world.exists() {
            fs_err::remove_dir_all(world).map_err(|error| Failure::new(error.to_string(), "Remove it by hand."))?;
        }
    }
    // Journals of a world that is gone would have the next apply look for moves that nobody knows; inventories tell of it.
    let inventories = Utf8Path::new(context::FOLDER).join(".tranship/inventory");
    for folder in [context::runs(None), inventories] {
        if !worlds.is_empty() && folder.exists() {
            fs_err::remove_dir_all(&folder).map_err(|error| Failure::new(error.to_string(), "Remove it by hand."))?;
        }
    }
    terminal.talk(match worlds.len() {
        0 => "There was no world.\n",
        _ => "The world is gone; the next command makes it anew.\n",
    });
    let file = Utf8Path::new(FILE_NAME);
    if state && file.exists() {
        fs_err::remove_file(file).map_err(|error| Failure::new(error.to_string(), "Remove it by hand."))?;
    } else if file.exists() {
        terminal
            .talk(&format!("{FILE_NAME} still tells of the old world; `tranship sandbox reset --state` removes it.\n"));
    }
    Ok(Exit::Done)
}

fn status(context: &Context) -> Result<Exit, Failure> {
    let worlds = worlds()?;
    if worlds.is_empty() {
        context.terminal.data("No world: the next command that needs one makes it.")?;
    }
    for world in worlds {
        let name = world.file_name().unwrap_or_default();
        let line = match sandbox::running(&world)? {
            Some(Endpoints { pid, gitlab_url, gitaly, speed, .. }) => {
                format!(
                    "{name}: running, process {pid}, GitLab at {gitlab_url}, {} storages, speed {speed}",
                    gitaly.len()
                )
            }
            None => format!("{name}: at rest; the next command that needs it starts it"),
        };
        context.terminal.data(&line)?;
    }
    Ok(Exit::Done)
}
