//! What was typed, wiring, exit codes. The only layer that knows all others; it decides nothing that they could.

mod apply;
mod approve;
mod args;
mod context;
mod durations;
mod eval;
pub mod exit;
mod explain;
mod failure;
#[cfg(feature = "sandbox")]
mod fleet;
mod fmt;
mod metrics;
mod plan;
mod reading;
mod render;
mod rotate;
#[cfg(feature = "sandbox")]
mod sandbox;
mod secrets;
mod signals;
mod state;
mod terminal;

use clap::{CommandFactory as _, Parser as _};

use args::{Cli, Command};
use context::Context;
use exit::Exit;
use failure::Failure;
use signals::Signals;
use terminal::Terminal;

/// Runs the program and returns its exit code.
pub fn run() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, on standard output; whether anybody still reads them is no matter.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.code();
        }
    };
    let terminal = Terminal::detect(&cli.global);
    // A fault of ours must not end in a code outside the table; its message stands on standard error already.
    let result = std::panic::catch_unwind(|| start(&cli, terminal)).unwrap_or_else(|_| {
        Err(Failure::new(
            "this is a fault of tranship",
            "Please report it with the lines above. The journal and the state file are whole; run the command again.",
        ))
    });
    let exit = result.unwrap_or_else(|failure| {
        terminal.failure(&failure);
        failure.exit
    });
    exit.code()
}

/// Prepares the process and runs the command.
fn start(cli: &Cli, terminal: Terminal) -> Result<Exit, Failure> {
    log(cli.global.verbose);
    crate::live::install_tls_provider();
    if let Some(folder) = &cli.global.directory {
        std::env::set_current_dir(folder).map_err(|error| {
            Failure::new(format!("-C {}: {error}", folder.display()), "Name the folder that holds the *.hcl files.")
        })?;
    }
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::new(format!("no threads to run on: {error}"), "Raise the limit of processes."))?;
    let result = runtime.block_on(dispatch(&cli.command, terminal));
    // A question that nobody answered may still wait for its line.
    runtime.shutdown_background();
    result
}

async fn dispatch(command: &Command, terminal: Terminal) -> Result<Exit, Failure> {
    // A signal simply ends what is done in one go.
    let signals = if command.is_offline() { Signals::deaf() } else { Signals::listen() };
    let context = Context { terminal, signals };
    match command {
        Command::Validate(args) => plan::validate(&context, args),
        Command::Fmt(args) => fmt::fmt(&terminal, args),
        Command::Eval(args) => eval::eval(&terminal, args),
        Command::Explain(args) => explain::explain(&terminal, args),
        Command::Plan(args) => plan::plan(&context, args).await,
        Command::Apply(args) => apply::apply(&context, args).await,
        Command::Approve(args) => approve::approve(&terminal, args),
        Command::Show(args) => plan::show(&context, args),
        Command::Graph(args) => plan::graph(&context, args).await,
        Command::Render(command) => render::render(&context, command),
        Command::Rotate(args) => rotate::rotate(&context, args).await,
        Command::State(command) => state::state(&context, command),
        Command::Quarantine(command) => state::quarantine(&context, command),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(command) => sandbox::sandbox(&context, command).await,
        Command::Completions { shell } => completions(&terminal, *shell),
        Command::Version { json } => version(&terminal, *json),
    }
}

fn completions(terminal: &Terminal, shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tranship", &mut script);
    terminal.data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

fn version(terminal: &Terminal, json: bool) -> Result<Exit, Failure> {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    let text = if json {
        serde_json::json!({
            "sandbox": cfg!(feature = "sandbox"),
            "state_format": crate::state::format::FORMAT,
            "plan_format": crate::plan::Plan::FORMAT,
            "version": VERSION,
        })
        .to_string()
    } else {
        format!("tranship {VERSION}")
    };
    terminal.data(&text)?;
    Ok(Exit::Done)
}

/// Logs to standard error: nothing by default, tranship's own doings with `-vv`. Never what libraries log: headers
/// with tokens may be among it.
fn log(verbose: u8) {
    use tracing::level_filters::LevelFilter;
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let level = match verbose {
        0 | 1 => return,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let filter = Targets::new().with_target(env!("CARGO_PKG_NAME"), level);
    let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();
}

/// The commands by name with what they are for, two levels deep, as the README lists them.
pub fn commands() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        let about = |command: &clap::Command| command.get_about().map(ToString::to_string).unwrap_or_default();
        if command.get_subcommands().next().is_none() {
            found.push((name.to_owned(), about(command)));
        }
        for inner in command.get_subcommands() {
            found.push((format!("{name} {}", inner.get_name()), about(inner)));
        }
    }
    found
}

#[cfg(test)]
mod testing {
    //! A plan for the tests of this folder.

    use crate::plan::{Basis, Estimate, Plan};

    /// A plan that does nothing.
    pub(super) fn plan() -> Plan {
        Plan {
            format: Plan::FORMAT,
            environment: "test".into(),
            as_of: jiff::Timestamp::UNIX_EPOCH,
            listed: None,
            basis: Basis {
                configuration: String::new(),
                state: String::new(),
                observed: String::new(),
                filesystem_ids: Default::default(),
            },
            actions: Vec::new(),
            edges: Vec::new(),
            moves: Vec::new(),
            drift: Vec::new(),
            findings: Vec::new(),
            report: Vec::new(),
            quarantined: Vec::new(),
            weights: Default::default(),
            storages: Default::default(),
            placement: Vec::new(),
            max_moves: 1,
            concurrency: Default::default(),
            windows: Default::default(),
            freeze: Default::default(),
            source_fsck: Default::default(),
            hooks: Vec::new(),
            durations: Default::default(),
            estimate: Estimate {
                duration_seconds: 0,
                freeze_seconds: 0,
                longest_freeze_seconds: 0,
                longest: None,
                elapsed_seconds: None,
                soak_seconds: 0,
                binding: None,
                assumption: String::new(),
            },
            policies: Vec::new(),
            samples: Default::default(),
            renames: Vec::new(),
        }
    }
}
