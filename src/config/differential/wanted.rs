//! Where tranship's answer is another than Terraform's on purpose: one table, each row with its reason. A row that
//! excuses nothing any more fails the test.

use super::terraform::Answer;

/// One expression with both answers.
pub(super) struct Case<'a> {
    pub(super) function: &'a str,
    pub(super) text: &'a str,
    /// As JSON, or the error.
    pub(super) ours: &'a Result<String, String>,
    pub(super) theirs: &'a Answer,
}

impl Case<'_> {
    fn we_refuse(&self, why: &str) -> bool {
        self.ours.as_ref().is_err_and(|e| e.contains(why))
    }

    fn they_refuse(&self) -> bool {
        *self.theirs == Answer::Error
    }

    fn both(&self) -> Option<(&str, &str)> {
        match (self.ours, self.theirs) {
            (Ok(ours), Answer::Json(theirs)) => Some((ours, theirs)),
            _ => None,
        }
    }

    fn has(&self, part: &str) -> bool {
        self.text.contains(part)
    }
}

pub(super) type Row = (&'static str, fn(&Case<'_>) -> bool);

pub(super) const TABLE: &[Row] = &[
    (
        "numbers are exact fractions, shown with 17 digits where they have no end; Terraform rounds to 512 bits (0.1 + 0.2 - 0.5 is not -0.2 there) and shows them all, pow and log as floats to their last digit",
        |c| c.both().is_some_and(|(ours, theirs)| near(ours, theirs)),
    ),
    ("there is no negative zero", |c| {
        c.both().is_some_and(|(ours, theirs)| ours == theirs.replace("-0", "0") && theirs.contains("-0"))
    }),
    ("a number has at most 38 digits before and 37 behind its point; what has more is refused, never rounded", |c| {
        c.we_refuse("out of range") && !c.has("9999-12")
            || c.we_refuse("too many digits")
            || c.we_refuse("this must be a number") && matches!(c.theirs, Answer::Json(n) if n.len() > 38)
    }),
    ("division by zero is an error; Terraform has 1 / 0 for infinite and n % 0 for n", |c| {
        c.we_refuse("Division by zero") || c.has("1 / 0")
    }),
    (
        "the side of && and || that is not needed is not looked at, and the branch of a conditional that is not chosen neither: what it is does not matter",
        |c| c.function == "(forms)" && c.they_refuse() && (c.has("&&") || c.has("||") || c.has("true ?")),
    ),
    ("the branch of a conditional that is chosen is the value as it is; Terraform brings both to one type", |c| {
        c.has("true ?")
    }),
    ("a set has an order, that of its elements, so it can stand where a list can", |c| {
        c.they_refuse() && (c.has("toset(") || c.has("setunion("))
    }),
    ("sets of lists are ordered element by element; Terraform's order comes from a hash", |c| {
        let sets = c.has("toset(") || c.text.starts_with("set");
        c.both().is_some_and(|(ours, theirs)| sets && theirs.starts_with("[[") && sorted(ours) == sorted(theirs))
    }),
    ("null is of any type, also beside a list or an object", |c| {
        let unifies = c.function.starts_with("set") || matches!(c.function, "distinct" | "tolist" | "toset");
        c.has("null") && (c.they_refuse() && unifies || c.function == "coalesce")
    }),
    (
        "a list and a tuple are one, a map and an object too: they are equal when their elements are, and a default of `lookup` stays what it is",
        |c| {
            c.has("lookup(tomap(")
                || c.has("tolist([1]) ==")
                || c.has("== tomap(")
                || c.text.starts_with("co") && c.has("tolist(")
        },
    ),
    ("the keys of a YAML map stand on one line each", |c| c.has("multi\\nkey")),
    ("what an alias of YAML names is whole before the alias", |c| c.has("&a a: *a")),
    ("signum takes any number; Terraform's takes whole ones only", |c| c.function == "signum" && c.they_refuse()),
    ("parseint takes a number or bool for the string that writes it, as all functions do", |c| {
        c.function == "parseint" && c.they_refuse() && (c.has("(10, ") || c.has("(true, "))
    }),
    ("an element's index must not be negative; Terraform takes it where the division leaves no remainder", |c| {
        c.function == "element" && c.we_refuse("must not be negative")
    }),
    ("a part of length 0 is empty; Terraform's is all that is left when the offset is negative", |c| {
        c.function == "substr" && c.has(", 0)")
    }),
    ("a repetition may count above 1,000", |c| c.has("a{1001}") && c.they_refuse()),
    ("timecmp takes what timeadd takes: RFC 3339 to the letter", |c| {
        c.function == "timecmp" && c.we_refuse("RFC 3339")
    }),
    ("years end with 9999, as in RFC 3339", |c| c.function == "timeadd" && c.we_refuse("the time is out of range")),
    ("merge takes no empty list", |c| c.text == "merge(null, [])"),
    ("a JSON text ends where its value ends", |c| c.function == "jsondecode" && c.we_refuse("trailing characters")),
    ("a YAML map may begin with a tab", |c| c.has("\\ta: 1")),
    ("YAML's \\u may write a character in two halves, as JSON does", |c| c.has("\\\\ud83d") && c.they_refuse()),
    (
        "a text is its bytes: what looks the same but is composed of other code points is another text, with another digest",
        |c| c.has("e\\u0301"),
    ),
    ("range gives up to a million numbers; Terraform's 1,024", |c| c.has("range(2000)") && c.they_refuse()),
];

/// Whether two texts differ only in numbers, and those by less than a float can tell, where one of them is longer than
/// a float's digits.
fn near(ours: &str, theirs: &str) -> bool {
    let (ours, theirs) = (tokens(ours), tokens(theirs));
    let mut long = false;
    ours.len() == theirs.len()
        && ours.iter().zip(&theirs).all(|(a, b)| {
            a == b || {
                long |= a.len().max(b.len()) > 12;
                match (a.parse::<f64>(), b.parse::<f64>()) {
                    (Ok(a), Ok(b)) => {
                        (a - b).abs() <= a.abs().max(b.abs()) * 4e-15 || a == 0.0 && b.abs() < 1.0 && long
                    }
                    _ => false,
                }
            }
        })
        && long
}

/// Numbers and what stands between them.
fn tokens(text: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-');
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let kind = is_part(first);
        let size = rest.find(|c| is_part(c) != kind).unwrap_or(rest.len());
        let (token, after) = rest.split_at(size);
        out.push(token);
        rest = after;
    }
    out
}

fn sorted(text: &str) -> Vec<char> {
    let mut all: Vec<char> = text.chars().collect();
    all.sort_unstable();
    all
}
