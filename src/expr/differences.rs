//! Where the language's answers are others than Terraform's on purpose: what an operator must know who comes from there.
//! The differential test finds each of them, and no others.

/// The differences, each a sentence without its beginning and end.
pub const DIFFERENCES: [&str; 23] = [
    "numbers are exact fractions, shown with 17 digits where they have no end; Terraform rounds to 512 bits (0.1 + 0.2 - 0.5 is not -0.2 there) and shows them all, pow and log as floats to their last digit",
    "there is no negative zero",
    "a number has at most 38 digits before and 37 behind its point; what has more is refused, never rounded",
    "division by zero is an error; Terraform has 1 / 0 for infinite and n % 0 for n",
    "the side of && and || that is not needed is not looked at, and the branch of a conditional that is not chosen neither: what it is does not matter",
    "the branch of a conditional that is chosen is the value as it is; Terraform brings both to one type",
    "a set has an order, that of its elements, so it can stand where a list can",
    "sets of lists are ordered element by element; Terraform's order comes from a hash",
    "null is of any type, also beside a list or an object",
    "a list and a tuple are one, a map and an object too: they are equal when their elements are, and a default of `lookup` stays what it is",
    "the keys of a YAML map stand on one line each",
    "what an alias of YAML names is whole before the alias",
    "signum takes any number; Terraform's takes whole ones only",
    "parseint takes a number or bool for the string that writes it, as all functions do",
    "an element's index must not be negative; Terraform takes it where the division leaves no remainder",
    "a part of length 0 is empty; Terraform's is all that is left when the offset is negative",
    "years end with 9999, as in RFC 3339",
    "merge takes no empty list",
    "a JSON text ends where its value ends",
    "a YAML map may begin with a tab",
    "YAML's \\u may write a character in two halves, as JSON does",
    "range gives up to a million numbers; Terraform's 1,024",
    "a group of a regular expression has a name that begins with a letter or `_`, and no other group has it",
];
