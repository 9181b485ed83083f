//! Where tranship's answer is another than Terraform's on purpose: one table, each row with its reason. A row that
//! excuses nothing any more fails the test.

use super::terraform::Answer;
use crate::expr::DIFFERENCES;

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
    (DIFFERENCES[0], |c| c.both().is_some_and(|(ours, theirs)| near(ours, theirs))),
    (DIFFERENCES[1], |c| {
        c.both().is_some_and(|(ours, theirs)| ours == theirs.replace("-0", "0") && theirs.contains("-0"))
    }),
    (DIFFERENCES[2], |c| {
        c.we_refuse("out of range") && !c.has("9999-12")
            || c.we_refuse("too many digits")
            || c.we_refuse("this must be a number") && matches!(c.theirs, Answer::Json(n) if n.len() > 38)
    }),
    (DIFFERENCES[3], |c| c.we_refuse("Division by zero") || c.has("1 / 0")),
    (DIFFERENCES[4], |c| c.function == "(forms)" && c.they_refuse() && (c.has("&&") || c.has("||") || c.has("true ?"))),
    (DIFFERENCES[5], |c| c.has("true ?")),
    (DIFFERENCES[6], |c| c.they_refuse() && (c.has("toset(") || c.has("setunion("))),
    (DIFFERENCES[7], |c| {
        let sets = c.has("toset(") || c.text.starts_with("set");
        c.both().is_some_and(|(ours, theirs)| sets && theirs.starts_with("[[") && sorted(ours) == sorted(theirs))
    }),
    (DIFFERENCES[8], |c| {
        let unifies = c.function.starts_with("set") || matches!(c.function, "distinct" | "tolist" | "toset");
        c.has("null") && (c.they_refuse() && unifies || c.function == "coalesce")
    }),
    (DIFFERENCES[9], |c| {
        c.has("lookup(tomap(")
            || c.has("tolist([1]) ==")
            || c.has("== tomap(")
            || c.text.starts_with("co") && c.has("tolist(")
    }),
    (DIFFERENCES[10], |c| c.has("multi\\nkey")),
    (DIFFERENCES[11], |c| c.has("&a a: *a")),
    (DIFFERENCES[12], |c| c.function == "signum" && c.they_refuse()),
    (DIFFERENCES[13], |c| c.function == "parseint" && c.they_refuse() && (c.has("(10, ") || c.has("(true, "))),
    (DIFFERENCES[14], |c| c.function == "element" && c.we_refuse("must not be negative")),
    (DIFFERENCES[15], |c| c.function == "substr" && c.has(", 0)")),
    (DIFFERENCES[16], |c| c.function == "timeadd" && c.we_refuse("the time is out of range")),
    (DIFFERENCES[17], |c| c.text == "merge(null, [])"),
    (DIFFERENCES[18], |c| c.function == "jsondecode" && c.we_refuse("trailing characters")),
    (DIFFERENCES[19], |c| c.has("\\ta: 1")),
    (DIFFERENCES[20], |c| c.has("\\\\ud83d") && c.they_refuse()),
    (DIFFERENCES[21], |c| c.has("range(2000)") && c.they_refuse()),
    (DIFFERENCES[22], |c| c.we_refuse("regular expression") && (c.has("(?P<1>") || c.has("(?P<n>a)(?P<n>"))),
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
