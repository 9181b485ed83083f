//! What rules over a plan may name: the table that conditions are checked by and the reference is printed from.

/// What a condition may name of a plan: path, type, meaning. `*` stands for any storage's name in GitLab.
pub const PLAN_FIELDS: &[(&str, &str, &str)] = &[
    ("as_of", "string, a time in RFC 3339", "When the fleet was observed, by its own clock."),
    ("environment", "string", "The environment that the plan is for."),
    ("actions", "whole number", "How many actions there are; a wave of moves off one storage is one."),
    ("duration", "whole number, seconds", "How long carrying it out takes at least, as estimated."),
    ("moves.count", "whole number", "How many repositories move."),
    ("moves.bytes", "whole number, bytes", "Their sizes in all, as far as they are known."),
    ("moves.freeze", "whole number, seconds", "How long repositories are read-only, summed over all, as estimated."),
    ("moves.longest_freeze", "whole number, seconds", "The longest that one repository is read-only, as estimated."),
    ("sources", "list of strings", "GitLab's names of the storages that repositories move off."),
    ("destinations", "list of strings", "GitLab's names of the storages that repositories move to."),
    ("weights.*.before", "whole number", "The weight of a storage whose weight is set, before."),
    ("weights.*.after", "whole number", "Its weight after."),
    (
        "storages.*.incoming",
        "whole number, bytes",
        "What comes to a storage, with what the copies take beyond their size.",
    ),
    ("storages.*.incoming_count", "whole number", "How many repositories come to it."),
    ("storages.*.outgoing", "whole number, bytes", "What leaves it."),
    ("storages.*.outgoing_count", "whole number", "How many repositories leave it."),
    ("storages.*.used", "whole number, bytes", "What is used of its disk before; unknown when it was not read."),
    ("storages.*.capacity", "whole number, bytes", "The size of its disk; unknown when it was not read."),
];
