//! The table's blocks about what moves where, and how it is released.

use super::Need::{Default, Optional, Required};
use super::Shape::{
    Address, Bool, Condition, Duration, Number, OneOf, Reference, ReferenceOr, References, Template, Text, Texts,
    Where, Whole, Wholes,
};
use super::{BlockSpec, FOR_EACH, NONE, U32, attribute, block};

pub(super) const ASSIGNMENT: BlockSpec = BlockSpec {
    attributes: &[
        FOR_EACH,
        attribute(
            "from",
            References("storage"),
            Required,
            "The storages it takes repositories from.",
            "from = [storage.default]",
        ),
        attribute("where", Where, Optional, "Which of them; left out, all.", "where = repository.size > 20 * GiB"),
        attribute(
            "to",
            References("storage"),
            Required,
            "The storages it sends them to, spread by bytes; being on any of them is being in place.",
            "to = values(storage.gitaly)",
        ),
        attribute(
            "priority",
            Whole(i64::MIN as i128, i64::MAX as i128),
            Default("0"),
            "Of assignments that claim one repository, the highest wins.",
            "priority = 10",
        ),
        attribute("description", Text, Optional, "What it is for, for people.", "description = \"Large ones first.\""),
    ],
    ..block("assignment", &["name"], true, "Which repositories belong where.")
};

pub(super) const ROLLOUT: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "probe",
            Text,
            Optional,
            "A project to move there and back before anything else.",
            "probe = \"tranship/canary\"",
        ),
        attribute(
            "ramp",
            Wholes(1, 100),
            Optional,
            "Per cent of new repositories that the new storages take, step by step.",
            "ramp = [1, 5, 25, 50, 100]",
        )
        .unit("per cent"),
        attribute(
            "soak",
            Duration,
            Optional,
            "The watching time after each step of the ramp and each wave.",
            "soak = \"15m\"",
        ),
        attribute(
            "calm",
            Whole(1, U32),
            Optional,
            "After so many in a row whose gates held, no soak any more; gates are still asked.",
            "calm = 3",
        )
        .unit("steps and waves"),
        attribute("gates", References("gate"), Optional, "What must hold to go on.", "gates = [gate.errors]"),
        attribute("window", Reference("window"), Optional, "Moves start only inside.", "window = window.nights"),
        attribute(
            "rollback",
            Bool,
            Default("false"),
            "When a gate fails after a step of the ramp, weights go back to what they were before it; else they stay.",
            "rollback = true",
        ),
        attribute(
            "backup",
            ReferenceOr("hook", &["none"]),
            Optional,
            "The hook that makes a backup before each wave; \"none\" says that there is none and that this is known.",
            "backup = \"none\"",
        ),
    ],
    blocks: &[BlockSpec {
        attributes: &[
            attribute(
                "where",
                Where,
                Optional,
                "Which repositories; left out, all that are left.",
                "where = repository.archived",
            ),
            attribute(
                "sample",
                Whole(1, u64::MAX as i128),
                Optional,
                "At most this many, drawn once, from all kinds and sizes alike.",
                "sample = 300",
            )
            .unit("repositories"),
            attribute(
                "batch",
                Whole(1, u64::MAX as i128),
                Optional,
                "It is taken in batches, each with its own soak and gates, the first of so many; at most 100, the last takes the rest.",
                "batch = 100",
            )
            .unit("repositories"),
            attribute(
                "growth",
                Whole(1, U32),
                Default("3"),
                "Each batch has so many times the repositories of the one before.",
                "growth = 3",
            )
            .unit("times"),
            attribute("soak", Duration, Optional, "The watching time after this wave.", "soak = \"1h\""),
            attribute(
                "gates",
                References("gate"),
                Optional,
                "What must hold to go on after it.",
                "gates = [gate.errors]",
            ),
            attribute(
                "window",
                Reference("window"),
                Optional,
                "Its moves start only inside, where they will have ended before it closes.",
                "window = window.nights",
            ),
        ],
        ..block("wave", &["name"], true, "A bounded batch of moves; the first wave that selects a repository has it.")
    }],
    ..block("rollout", &[], false, "How moves are released.")
};

pub(super) const GATE: BlockSpec = BlockSpec {
    attributes: &[
        FOR_EACH,
        attribute(
            "query",
            Template("target"),
            Optional,
            "A PromQL query, asked for each storage that a step touches.",
            "query = \"sum(rate(errors{${target.selector}}[5m]))\"",
        ),
        attribute(
            "max",
            Number(f64::NEG_INFINITY, f64::INFINITY),
            Optional,
            "The answer must not be above.",
            "max = 0.5",
        )
        .unit("as the query's answer"),
        attribute(
            "min",
            Number(f64::NEG_INFINITY, f64::INFINITY),
            Optional,
            "The answer must not be below.",
            "min = 0.99",
        )
        .unit("as the query's answer"),
        attribute("for", Duration, Optional, "How long it must have held.", "for = \"5m\""),
        attribute(
            "baseline",
            References("storage"),
            Optional,
            "The storages whose answers, in the same minutes, it is compared with.",
            "baseline = storage.default",
        ),
        attribute(
            "max_ratio",
            Number(0.0, f64::INFINITY),
            Optional,
            "Answer over baseline must not be above.",
            "max_ratio = 1.2",
        )
        .unit("ratio"),
        attribute("approval", Bool, Default("false"), "A person must approve.", "approval = true"),
        attribute("dry_run", Bool, Default("false"), "It is asked and told, but decides nothing.", "dry_run = true"),
        attribute("interval", Duration, Default("\"30s\""), "The time between two questions.", "interval = \"30s\""),
        attribute(
            "deadline",
            Duration,
            Default("\"1h\""),
            "An answer that is unknown for so long pauses the run.",
            "deadline = \"1h\"",
        ),
    ],
    ..block("gate", &["name"], true, "A condition on metrics, or an approval. Has an effect where a rollout names it.")
};

pub(super) const HOOK: BlockSpec = BlockSpec {
    attributes: &[
        attribute("exec", Texts, Required, "The program and its arguments.", "exec = [\"./snapshot.sh\"]"),
        attribute(
            "on",
            Texts,
            Optional,
            "When it runs: \"wave-start\", \"wave-done\", \"gate\", \"move-failed\", \"quarantine\", \"dead-end\" or \"drain-proven\".",
            "on = [\"wave-start\"]",
        ),
        attribute("timeout", Duration, Default("\"10m\""), "When it is given up.", "timeout = \"10m\""),
    ],
    ..block("hook", &["name"], true, "A program of yours.")
};

pub(super) const WINDOW: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "days",
            Texts,
            Optional,
            "Days it begins on: mon to sun; left out, all.",
            "days = [\"mon\", \"tue\"]",
        ),
        attribute("start", Text, Required, "When it begins, HH:MM.", "start = \"22:00\""),
        attribute(
            "end",
            Text,
            Required,
            "When it ends, HH:MM; before start: the next day; the same as start: a whole day.",
            "end = \"05:00\"",
        ),
        attribute(
            "timezone",
            Text,
            Default("\"UTC\""),
            "An IANA time zone. Summer time is followed: a time that the clock jumps over is at the jump, of one that comes twice the first counts.",
            "timezone = \"Europe/Berlin\"",
        ),
    ],
    ..block("window", &["name"], true, "A time that comes again. Has an effect where a rollout names it.")
};

pub(super) const FREEZE: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "per_repository",
            Duration,
            Optional,
            "The longest that one repository may be read-only.",
            "per_repository = \"5m\"",
        ),
        attribute(
            "per_day",
            Duration,
            Optional,
            "In one day, summed over the repositories of one top-level group.",
            "per_day = \"2h\"",
        ),
        attribute(
            "window",
            Reference("window"),
            Optional,
            "For what would exceed per_repository.",
            "window = window.nights",
        ),
    ],
    ..block("freeze", &[], false, "Read-only time that users may be made to bear.")
};

pub(super) const POLICY: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "condition",
            Condition("plan"),
            Required,
            "Must be true for the plan to be applied.",
            "condition = plan.moves.count <= 5000",
        ),
        attribute("error_message", Text, Required, "What to say when it is not.", "error_message = \"Split this.\""),
        attribute("description", Text, Optional, "What it is for, for people.", "description = \"Small steps.\""),
    ],
    ..block("policy", &["name"], true, "A rule over the finished plan.")
};

pub(super) const PROMOTE: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "evidence",
            Text,
            Required,
            "The evidence file of the environment before.",
            "evidence = \"../pre/evidence.json\"",
        ),
        attribute("moves", Whole(0, NONE), Optional, "At least this many verified moves.", "moves = 300").unit("moves"),
        attribute(
            "failures",
            Number(0.0, 1.0),
            Optional,
            "Upper bound of the failure rate, at 95 % confidence.",
            "failures = 0.01",
        )
        .unit("share of the moves"),
    ],
    later: true,
    ..block("promote", &[], false, "This environment may apply only what another one has proven.")
};

pub(super) const IMPORT: BlockSpec = BlockSpec {
    attributes: &[attribute(
        "to",
        References("storage"),
        Required,
        "The storage whose objects exist already.",
        "to = storage.gitaly[\"b\"]",
    )],
    ..block("import", &[], true, "Adopts the Kubernetes objects that already exist for a storage, whoever made them.")
};

pub(super) const VERIFY: BlockSpec = BlockSpec {
    attributes: &[attribute(
        "source_fsck",
        OneOf(&["none", "sample", "all"]),
        Default("\"none\""),
        "Whether the source is checked to be whole before it moves.",
        "source_fsck = \"sample\"",
    )],
    ..block("verify", &[], false, "What is verified beyond every move's references.")
};

pub(super) const MOVED: BlockSpec = BlockSpec {
    attributes: &[
        attribute("from", Address, Required, "The address before.", "from = assignment.rest"),
        attribute("to", Address, Required, "The address now.", "to = assignment.everything-else"),
    ],
    ..block("moved", &[], true, "A block's label changed: what the state holds for it follows.")
};

pub(super) const CONCURRENCY: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "profile",
            OneOf(crate::model::Profile::NAMES),
            Default("\"fixed\""),
            "How many moves run at once: the declared limits, or what the signals allow below them. A disk that is nearly full, and a repository that is read-only for too long, stop moves with each.",
            "profile = \"balanced\"",
        ),
        attribute(
            "signals",
            References("gate"),
            Optional,
            "Gates that are asked while moves run: good, one slot more; bad, half; unknown, none more.",
            "signals = [gate.latency]",
        ),
        attribute(
            "interval",
            Duration,
            Optional,
            "The time between two decisions; left out, the profile's.",
            "interval = \"1m\"",
        ),
        attribute(
            "deadline",
            Duration,
            Optional,
            "Signals that are unknown for so long pause the run; left out, the profile's.",
            "deadline = \"15m\"",
        ),
    ],
    blocks: &[BlockSpec {
        attributes: &[
            attribute(
                "query",
                Text,
                Optional,
                "PromQL; any element other than 0 holds the veto.",
                "query = \"ALERTS{alertstate=\\\"firing\\\"}\"",
            ),
            attribute(
                "url",
                Text,
                Optional,
                "Read by GET; any answer but 200 holds the veto.",
                "url = \"http://incidents.internal/moves-allowed\"",
            ),
            attribute("file", Text, Optional, "While this file is there, it holds the veto.", "file = \"STOP\""),
        ],
        ..block(
            "veto",
            &["name"],
            true,
            "While it holds, nothing new is scheduled anywhere. Has one of its attributes.",
        )
    }],
    ..block("concurrency", &[], false, "How many moves run at once, and what stops them.")
};
