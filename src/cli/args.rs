//! What may be typed. Only what was typed stands here; what is needed is built from it in `context`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::exit::Exit;
#[cfg(feature = "sandbox")]
use crate::model::StorageName;
use crate::model::{Address, Container};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "tranship",
    version,
    about = "Moves a GitLab installation's Git storage to Kubernetes: plan, apply, verify, record",
    after_long_help = format!(
        "Examples:\n  tranship -C examples/first-move plan\n  tranship -C examples/first-move apply\n\n{}",
        Exit::help()
    ),
    max_term_width = 100,
    propagate_version = false,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Works as if started in this folder
    #[arg(short = 'C', value_name = "DIR", global = true)]
    pub(crate) directory: Option<PathBuf>,
    /// When to colour: NO_COLOR, CLICOLOR_FORCE and TERM=dumb are honoured by `auto`
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto, global = true)]
    pub(crate) color: Color,
    /// Short for --color never
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Says more: every move in a plan; twice, what is being done, on standard error
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On terminals.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Checks the configuration, offline, and reports all errors at once
    #[command(after_long_help = "Examples:
  tranship validate
  tranship validate --json | jq .diagnostics")]
    Validate(Validate),
    /// Puts configurations into canonical style: blanks only, never a value or a comment
    #[command(after_long_help = "Examples:
  tranship fmt                             # the folder's *.hcl files; lists those it changed
  tranship fmt --check --diff --recursive  # changes nothing; 2 when something would change
  tranship fmt - < draft.hcl               # standard input to standard output

The style is that of `terraform fmt`: two blanks for each level, `=` and comments aligned over \
consecutive lines. Only blanks between words and signs change. Texts, heredocs and comments stay as \
they are, and so do the lines with their ends (LF or CRLF); a byte order mark goes. What was formatted \
is parsed again, and a file stays as it is when it would say anything else. What is hidden, and a link \
that leads out of the folder, is left out.")]
    Fmt(Fmt),
    /// Prints the value of an expression, with the configuration's names; asks no live system
    #[command(after_long_help = "Examples:
  tranship eval 'local.zones'
  tranship eval 'values(storage.gitaly)[*].name' --json
  tranship eval 'timeadd(\"2026-01-05T08:00:00Z\", \"36h\")'
  tranship eval --var 'size=20' 'var.size * GiB'
  echo 'keys(storage)' | tranship eval -

What may be used: tranship explain names, tranship explain functions. A value that depends on a \
sensitive variable is not printed. An expression that begins with `-` stands behind `--`.")]
    Eval(Eval),
    /// Explains the language: blocks, attributes, functions, what conditions may use
    #[command(after_long_help = "Examples:
  tranship explain                         # what there is, a line each
  tranship explain storage
  tranship explain storage.limits.disk_ceiling
  tranship explain functions
  tranship explain function.timeadd
  tranship explain repository              # what a `where` may use; `plan` for policies
  tranship explain faults                  # what can be made to go wrong on the sandbox
  tranship explain storage --json | jq '.attributes[].name'
  tranship explain --markdown > REFERENCE.md

What it says comes from the tables that configurations are checked by, so it is always of this version.")]
    Explain(Explain),
    /// Shows what an apply would do; changes nothing
    #[command(after_long_help = "Examples:
  tranship plan
  tranship plan --out monday.plan
  tranship plan --target 'assignment.heavy' -v
  tranship plan --refresh=false            # lists no repositories again: a second instead of an hour
  tranship plan --detailed-exitcode        # 2 when there is something to do")]
    Plan(Plan),
    /// Carries out a plan: moves, verifies, records
    #[command(after_long_help = "Examples:
  tranship apply                           # plans, shows, asks, does
  tranship apply monday.plan               # a saved plan asks nothing, and is refused when stale
  tranship apply --auto-approve --json | tee events.jsonl
  tranship apply --metrics 127.0.0.1:9464  # frozen-too-long and the like, for Prometheus
  tranship apply --max-wait 10m            # 9 when a soak, gate or window would take longer; come back then

The first Ctrl-C schedules nothing new and follows what is in flight; the second leaves at once.
The next apply takes up from there.")]
    Apply(Apply),
    /// Approves a gate, for a running apply or the next one
    #[command(after_long_help = "Examples:
  tranship approve release-manager --reason 'looked at the dashboards'
  tranship approve 'gate.team[\"search\"]' --by ann

The apply that takes it up records who approved in the state; the next hold that asks the same gate needs \
another approval.")]
    Approve(Approve),
    /// Shows a saved plan, or the state
    #[command(after_long_help = "Examples:
  tranship show                            # the state
  tranship show monday.plan
  tranship show monday.plan --json")]
    Show(Show),
    /// Prints the plan's graph for Graphviz, or as JSON
    #[command(after_long_help = "Examples:
  tranship graph | dot -Tsvg > plan.svg
  tranship graph monday.plan --json")]
    Graph(Graph),
    /// Prints what GitLab, Helm or Kubernetes must be told of the storages
    #[command(
        subcommand,
        after_long_help = "Examples:
  tranship render helm                     # global.gitaly.external, for GitLab's own release of the chart
  tranship render gitlab-rb                # gitlab_rails['repositories_storages']
  tranship render rbac --user ci | kubectl apply -f -
  tranship render manifests --storage gitaly-a

Offline: nothing is asked and nothing is changed."
    )]
    Render(RenderCommand),
    /// Restarts the pod of a storage, and measures how long the storage is away
    #[command(after_long_help = "Examples:
  tranship rotate gitaly-a                 # looks, asks, restarts, measures, records
  tranship rotate gitaly-a --auto-approve --json | jq .outage_seconds

The pod is evicted under its disruption budget while its Gitaly is asked all the time; what is printed \
is how long it answered nobody, and how long the pod was in each phase: terminating, detach, attach, \
start, ready. The outage is recorded, and shown by plans that restart the pod; one above the pod_spec's \
rotation_budget ends with 1. Where moves are under way to or from the storage, nothing is done.")]
    Rotate(Rotate),
    /// Lists, shows, renames or removes records of the state file
    #[command(
        subcommand,
        after_long_help = "Examples:
  tranship state list
  tranship state show storage.default
  tranship state mv assignment.rest assignment.everything-else --dry-run

Only tranship's memory is edited; no live system is touched."
    )]
    State(StateCommand),
    /// Shows or releases repositories that were set aside
    #[command(
        subcommand,
        after_long_help = "Examples:
  tranship quarantine list
  tranship quarantine release project-12"
    )]
    Quarantine(QuarantineCommand),
    /// Runs or resets the embedded fleet of a `sandbox` block
    #[cfg(feature = "sandbox")]
    #[command(
        subcommand,
        after_long_help = "Examples:
  tranship sandbox serve                   # until Ctrl-C, for other clients
  tranship sandbox status
  tranship sandbox repair project-12       # what a person does at GitLab's console
  tranship sandbox reset                   # the world is made anew by the next command"
    )]
    Sandbox(SandboxCommand),
    /// Prints completions for a shell
    #[command(after_long_help = "Examples:
  tranship completions bash > /etc/bash_completion.d/tranship
  tranship completions zsh > ~/.zfunc/_tranship")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Prints the version
    #[command(after_long_help = "Examples:
  tranship version
  tranship version --json")]
    Version {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    /// True for what asks no live system and begins nothing that would have to be ended in order.
    pub(crate) fn is_offline(&self) -> bool {
        matches!(self, Self::Fmt(_) | Self::Eval(_) | Self::Explain(_))
    }
}

/// Where values of variables come from.
#[derive(Debug, Args)]
pub(crate) struct Variables {
    /// Sets a variable; wins over files and the environment
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = assignment)]
    pub(crate) var: Vec<(String, String)>,
    /// Reads variables from a file; later files win
    #[arg(long = "var-file", value_name = "FILE")]
    pub(crate) var_file: Vec<String>,
}

/// Which part of the plan.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Only this address and what it depends on; `*` matches any text
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) target: Vec<String>,
    /// Not this address; `*` matches any text
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) exclude: Vec<String>,
    /// Takes over objects and fields in the cluster that others own; the plan shows which
    #[arg(long)]
    pub(crate) adopt: bool,
    /// At most this many moves outstanding at once; lowers the configuration's number, never raises it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) parallelism: Option<u32>,
}

/// Where the lists of repositories come from.
#[derive(Debug, Args)]
pub(crate) struct Listing {
    /// `false`: takes the lists of repositories from the inventory that the last plan wrote, not from GitLab
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true, hide_possible_values = true)]
    pub(crate) refresh: bool,
    /// Takes them from this inventory
    #[arg(long, value_name = "FILE")]
    pub(crate) inventory: Option<camino::Utf8PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    pub(crate) variables: Variables,
    /// As JSON, in the shape of `terraform validate -json`
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Fmt {
    /// Files and folders; left out, this folder; `-`: standard input to standard output
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<camino::Utf8PathBuf>,
    /// Changes nothing, and ends with 2 when something would change
    #[arg(long)]
    pub(crate) check: bool,
    /// Prints what changes as a patch; what looks like a secret is masked in it
    #[arg(long)]
    pub(crate) diff: bool,
    /// Folders in folders, too
    #[arg(long)]
    pub(crate) recursive: bool,
    /// Whether files are changed
    #[arg(long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1,
        require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) write: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// An expression as in the configuration; `-` reads it from standard input
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    pub(crate) expression: String,
    #[command(flatten)]
    pub(crate) variables: Variables,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A block, an attribute, `functions`, `names`, `repository`, `plan`, `faults`, or one of them by its path; left out,
    /// everything, a line each
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// All functions; the same as the path `functions`
    #[arg(long, conflicts_with = "path")]
    pub(crate) functions: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The whole reference as Markdown
    #[arg(long, conflicts_with_all = ["path", "functions", "json"])]
    pub(crate) markdown: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) variables: Variables,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) listing: Listing,
    /// Saves the plan for `tranship apply FILE`
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<camino::Utf8PathBuf>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Ends with 2 when there is something to do
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
    /// Where journals are kept instead of .tranship/runs
    #[arg(long, value_name = "DIR")]
    pub(crate) run_dir: Option<camino::Utf8PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// A plan saved by `tranship plan --out`
    #[arg(conflicts_with_all = ["target", "exclude", "adopt"])]
    pub(crate) file: Option<camino::Utf8PathBuf>,
    #[command(flatten)]
    pub(crate) variables: Variables,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) listing: Listing,
    /// Asks nothing
    #[arg(long)]
    pub(crate) auto_approve: bool,
    /// Events as JSON lines on standard output; asks nothing, so it needs FILE or --auto-approve
    #[arg(long)]
    pub(crate) json: bool,
    /// The longest wait for a soak, a gate, an approval or a window, like 10m; what would take longer is left with 9
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) max_wait: Option<std::time::Duration>,
    /// Serves Prometheus metrics of the run at http://ADDR/metrics while it lasts. Anybody who reaches it may read it:
    /// keep it on loopback, such as 127.0.0.1:9464
    #[arg(long, value_name = "ADDR", value_parser = super::metrics::parse)]
    pub(crate) metrics: Option<std::net::SocketAddr>,
    /// Where journals are kept instead of .tranship/runs
    #[arg(long, value_name = "DIR")]
    pub(crate) run_dir: Option<camino::Utf8PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// A gate with `approval = true`: its label, or its address
    #[arg(value_name = "GATE")]
    pub(crate) gate: String,
    #[command(flatten)]
    pub(crate) variables: Variables,
    /// Why; recorded with the name
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Who; left out, the user of this machine
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// A saved plan; left out, or `state`: the state
    pub(crate) file: Option<camino::Utf8PathBuf>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// A saved plan; left out, one is made
    #[arg(conflicts_with_all = ["target", "exclude", "adopt"])]
    pub(crate) file: Option<camino::Utf8PathBuf>,
    #[command(flatten)]
    pub(crate) variables: Variables,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) listing: Listing,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// The storage: GitLab's name or the block's address
    #[arg(value_name = "STORAGE")]
    pub(crate) storage: String,
    #[command(flatten)]
    pub(crate) variables: Variables,
    /// Asks nothing
    #[arg(long)]
    pub(crate) auto_approve: bool,
    /// The measure as JSON on standard output; asks nothing, so it needs --auto-approve
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which storages to print.
#[derive(Debug, Args)]
pub(crate) struct RenderStorages {
    #[command(flatten)]
    pub(crate) variables: Variables,
    /// Only this storage: GitLab's name or the block's address; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) storage: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RenderCommand {
    /// Prints values of GitLab's chart: its storages, or a release with one Gitaly
    #[command(after_long_help = "Examples:
  tranship render helm > storages.yaml
  tranship render helm --gitaly-chart --storage gitaly-a > gitaly-a.yaml")]
    Helm {
        #[command(flatten)]
        only: RenderStorages,
        /// Values for a release of its own with the one Gitaly of a storage, for those who deploy Gitaly by Helm
        #[arg(long)]
        gitaly_chart: bool,
    },
    /// Prints the storages for /etc/gitlab/gitlab.rb
    #[command(after_long_help = "Examples:\n  tranship render gitlab-rb")]
    GitlabRb {
        #[command(flatten)]
        only: RenderStorages,
    },
    /// Prints the rights in the cluster that tranship needs
    #[command(after_long_help = "Examples:
  tranship render rbac | kubectl apply -f -
  tranship render rbac --user ci@example.com")]
    Rbac {
        #[command(flatten)]
        variables: Variables,
        /// Grants them to this user instead of the ServiceAccount tranship
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Prints the objects of pod storages as YAML, for review
    #[command(after_long_help = "Examples:
  tranship render manifests --storage gitaly-a
  tranship render manifests | kubectl diff -f -")]
    Manifests {
        #[command(flatten)]
        only: RenderStorages,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Lists the addresses of all records
    #[command(after_long_help = "Examples:\n  tranship state list\n  tranship state list storage --json")]
    List {
        /// Only these: `storage`, `storage.default`
        prefix: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Prints one record as JSON
    #[command(after_long_help = "Examples:\n  tranship state show storage.default")]
    Show {
        /// Which record
        address: Address,
    },
    /// Puts a record under another address
    #[command(after_long_help = "Examples:\n  tranship state mv assignment.rest assignment.everything-else --dry-run")]
    Mv {
        /// The record's address
        from: Address,
        /// Its new address
        to: Address,
        /// Prints what would change, changes nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Removes records: tranship forgets what it did there
    #[command(after_long_help = "Examples:\n  tranship state rm wave.sample --dry-run")]
    Rm {
        /// Which records
        #[arg(required = true)]
        addresses: Vec<Address>,
        /// Prints what would change, changes nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// Lists repositories that were set aside, with the cause and what to do
    #[command(after_long_help = "Examples:\n  tranship quarantine list\n  tranship quarantine list --json")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Lets the next plan take them up again
    #[command(after_long_help = "Examples:\n  tranship quarantine release project-12 project-40 --dry-run")]
    Release {
        /// `project-12`, as `quarantine list` prints it
        #[arg(required = true, value_parser = container)]
        containers: Vec<Container>,
        /// Prints what would change, changes nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[cfg(feature = "sandbox")]
#[derive(Debug, Subcommand)]
pub(crate) enum SandboxCommand {
    /// Serves the fleet for other clients and prints the environment to use
    #[command(after_long_help = "Examples:\n  tranship -C examples/first-move sandbox serve")]
    Serve(SandboxServe),
    /// Stops the fleet and deletes its world and the journals of runs on it
    #[command(after_long_help = "Examples:\n  tranship sandbox reset\n  tranship sandbox reset --state")]
    Reset {
        /// Deletes the state file too: it tells of a world that is gone
        #[arg(long)]
        state: bool,
    },
    /// Says whether a world exists and a fleet runs
    #[command(after_long_help = "Examples:\n  tranship sandbox status")]
    Status,
    /// Ends a container's moves and makes it writable, as a person does at GitLab's console
    #[command(after_long_help = "Examples:\n  tranship sandbox repair project-12")]
    Repair {
        #[command(flatten)]
        variables: Variables,
        /// Like project-12, snippet-3 or group_wiki-1
        #[arg(value_name = "CONTAINER", value_parser = |text: &str| Container::try_from(text.to_owned()))]
        container: Container,
    },
    /// Has GitLab learn of a storage, as a change of its configuration would
    #[command(after_long_help = "Examples:\n  tranship sandbox know gitaly-a")]
    Know {
        #[command(flatten)]
        variables: Variables,
        /// GitLab's name of the storage
        #[arg(value_name = "STORAGE", value_parser = |text: &str| StorageName::new(text.to_owned()))]
        storage: StorageName,
    },
}

#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub(crate) struct SandboxServe {
    #[command(flatten)]
    pub(crate) variables: Variables,
    /// The world's folder; it must hold a world. What tranship itself starts its fleet with
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) dir: Option<camino::Utf8PathBuf>,
    /// Ends when nobody has asked for so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) idle: Option<u64>,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || "expected a duration like 90s, 10m or 1h30m".to_owned();
    let found = crate::expr::parse_duration(text).map_err(|_| wrong())?;
    std::time::Duration::try_from(found).map_err(|_| wrong())
}

fn container(text: &str) -> Result<Container, String> {
    Container::try_from(text.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn clap_finds_no_fault_with_it() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples_in_its_long_help() {
        fn check(command: &clap::Command) {
            let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:\n  tranship "), "{}: {help}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn the_values_of_variables_may_hold_anything() {
        assert_eq!(assignment("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(assignment("a="), Ok(("a".into(), String::new())));
        assert!(assignment("=b").is_err());
        assert!(assignment("a").is_err());
    }
}
