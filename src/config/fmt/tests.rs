//! Pairs of files, laws over generated texts, and Terraform's own formatter as the reference where it is installed.

use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use proptest::prelude::*;

use super::*;

fn project() -> &'static Utf8Path {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn format(text: &str) -> Result<String, Diagnostics> {
    let mut formatter = Formatter::default();
    let formatted = formatter.format("a.hcl", text.as_bytes().to_vec());
    let (found, _) = formatter.finish();
    assert_eq!(formatted.is_none(), found.has_errors(), "{text:?}: {found:?}");
    formatted.ok_or(found)
}

fn canonical(text: &str) -> String {
    format(text).unwrap_or_else(|found| panic!("{text}\n{found:?}"))
}

/// All texts of the project that end so and that the parser accepts.
fn texts(folder: &str, ending: &str) -> Vec<(Utf8PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![project().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir_utf8().expect("a folder") {
            let path = entry.expect("an entry").into_path();
            if path.is_dir() {
                folders.push(path);
            } else if path.as_str().ends_with(ending)
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                found.push((path, text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

/// `NAME.in.hcl` gives `NAME.out.hcl`; where Terraform gives something else, that stands in `NAME.terraform.hcl`.
#[test]
fn the_pairs_hold() {
    for (path, text) in texts("testdata/fmt", ".in.hcl") {
        let out = Utf8PathBuf::from(path.as_str().replace(".in.hcl", ".out.hcl"));
        let formatted = canonical(&text);
        if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
            std::fs::write(&out, &formatted).expect("rewritten");
        }
        assert_eq!(formatted, std::fs::read_to_string(&out).expect("its pair"), "{path}; UPDATE=1 rewrites");
        assert_eq!(canonical(&formatted), formatted, "{path}: again");
    }
}

#[test]
fn every_text_of_the_project_keeps_its_meaning_and_comes_to_rest() {
    let mut whole = 0;
    for (path, text) in texts("examples", ".hcl").into_iter().chain(texts("testdata", ".hcl")) {
        match format(&text) {
            Ok(formatted) => {
                whole += 1;
                assert_eq!(canonical(&formatted), formatted, "{path}");
                assert_eq!(comments(&formatted), comments(&text), "{path}");
                assert_eq!(formatted.lines().count(), text.trim_end_matches([' ', '\t']).lines().count(), "{path}");
                if path.starts_with(project().join("examples")) {
                    assert_eq!(formatted, text, "{path}: the examples are in canonical style");
                }
            }
            Err(found) => assert!(found.items.iter().all(|d| d.code != "fmt/unsafe"), "{path}: {found:?}"),
        }
    }
    assert!(whole > 20, "{whole}");
}

/// The comments by a plain search for lines that hold nothing else: not by the tokens that the formatter goes by.
fn comments(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.trim_start_matches([' ', '\t'])).filter(|line| line.starts_with(['#', '/'])).collect()
}

#[test]
fn line_ends_stay_and_the_byte_order_mark_goes() {
    assert_eq!(canonical("\u{feff}a=1\r\nbbb = 2 # x\r\n\n c=3\n"), "a   = 1\r\nbbb = 2 # x\r\n\nc = 3\n");
    assert_eq!(canonical("a=<<X\r\n  y  \r\n  X\r\n"), "a = <<X\r\n  y  \r\n  X\r\n");
    assert_eq!(canonical("a=1"), "a = 1", "as Terraform: the last line gets no end");
    assert_eq!(canonical("a=1\n  \t"), "a = 1\n");
    for text in ["", "\n", "# x", "\n\n# x\n\n"] {
        assert_eq!(canonical(text), text);
    }
}

#[test]
fn what_is_no_configuration_is_told_in_the_ordinary_words() {
    for (text, code) in [
        (&b"a = [1\nb = 2\n"[..], "config/unclosed"),
        (b"a = \xff\n", "config/encoding"),
        (b"a = 1\0\n", "config/encoding"),
        (b"a = 1\na = 2\n", "config/duplicate-attribute"),
    ] {
        let mut formatter = Formatter::default();
        assert_eq!(formatter.format("bad.hcl", text.to_vec()), None);
        assert!(formatter.format("good.hcl", b"a=1\n".to_vec()).is_some(), "the others are formatted");
        let (found, sources) = formatter.finish();
        let codes: Vec<&str> = found.items.iter().map(|d| d.code).collect();
        assert!(codes.iter().any(|c| c.starts_with(code)), "{text:?}: {codes:?}");
        let place = found.items[0].span.and_then(|span| sources.locate(span)).expect("a place");
        assert!(place.starts_with("bad.hcl:"), "{place}");
    }
}

#[test]
fn no_nesting_overflows_the_stack() {
    for (open, close) in [("[", "]"), ("(", ")"), ("{ a = ", " }"), ("f(", ")"), ("\"${", "}\""), ("!", ""), ("-", "")]
    {
        let text = format!("a = {}1{}\n", open.repeat(5_000), close.repeat(5_000));
        let found = format(&text).expect_err("deeper than the parser goes");
        assert!(found.items.iter().all(|d| d.code.starts_with("config/")), "{found:?}");
        // The layout itself takes any depth.
        assert!(layout::print(&text, &token::tokens(&text)).len() >= text.len() / 2);
    }
    let blocks = format!("{}{}", "a {\n".repeat(5_000), "}\n".repeat(5_000));
    assert!(format(&blocks).is_err());
    assert_eq!(canonical(&format!("a = {}1{}\n", "[ ".repeat(30), " ]".repeat(30))).len(), 66);
}

/// A change of anything but blanks is found, and where.
#[test]
fn damage_is_found_where_it_is() {
    let text = "a = 1 # one\nb = \"x  y\"\nc = <<EOT\n  z\nEOT\n";
    let body = parser::parse_body(text).expect("whole");
    let tokens = token::tokens(text);
    let found = |from: &str, to: &str| damage(text, &tokens, body.clone(), &text.replace(from, to)).map(|(at, _)| at);
    assert_eq!(found("", ""), None);
    assert_eq!(found("a = 1", "a=1"), None);
    assert_eq!(found("1", "2"), Some(4));
    assert_eq!(found("# one", "# two"), Some(6));
    assert_eq!(found("# one\n", ""), Some(6));
    assert_eq!(found("x  y", "x y"), Some(17));
    assert_eq!(found("  z", " z"), Some(27));
    assert_eq!(found("EOT\n", "EOT\n\n"), Some(27));
}

/// The parser takes a first line that ends a heredoc for its content where Terraform does not: what is read in two ways
/// is left alone.
#[test]
fn what_cannot_be_formatted_safely_is_refused_with_its_place() {
    let text = "b   = 1\na = <<EOT\nEOT\nx   = y\nEOT\n";
    let mut formatter = Formatter::default();
    assert_eq!(formatter.format("a.hcl", text.as_bytes().to_vec()), None);
    let (found, sources) = formatter.finish();
    assert_eq!(found.items[0].code, "fmt/unsafe");
    assert_eq!(found.items[0].span.and_then(|span| sources.locate(span)).as_deref(), Some("a.hcl:2:1"));
}

/// One line of a megabyte must not make a megabyte of each of its neighbours.
#[test]
fn a_long_line_does_not_inflate_the_others() {
    let mut text = format!("a = \"{}\" # x\n", "x".repeat(100_000));
    for i in 0..2_000 {
        text.push_str("b = [1] # y\n".replace('b', &format!("b{i}")).as_str());
    }
    assert!(canonical(&text).len() < text.len() * 2);
}

/// What the parser takes a minute for is cut for it, and comes out whole.
#[test]
fn objects_of_very_many_items_are_formatted() {
    for (item, close, cuts) in
        [("k{} = 1\n", "", 13), ("k{}=1 ,", "", 13), ("k{} = [ 1,\n2 ] # c\n", "", 13), ("k{}=1, # c\n", "z = 1", 27)]
    {
        let items: String = (0..3_500).map(|i| item.replace("{}", &i.to_string())).collect();
        let text = format!("a {{\n  b = f({{\n{items}{close}}})\n}}\n");
        let cut = split(&text, &token::tokens(&text));
        assert_eq!(cut.matches(",_").count(), cuts);
        let formatted = canonical(&text);
        assert_eq!(formatted.lines().count(), text.lines().count());
        let wrong = text.replace("k3000", "k3000 k");
        assert!(format(&wrong).expect_err("not an item").items[0].code.starts_with("config/"));
    }
    let text = format!("a = {{ for k, v in m :{} k => v }}\n", "\n".repeat(3_000));
    assert!(matches!(split(&text, &token::tokens(&text)), Cow::Borrowed(_)));
    let blocks = "a \"b\" {\n".to_owned() + &"  c {}\n".repeat(3_000) + "}\n";
    assert!(matches!(split(&blocks, &token::tokens(&blocks)), Cow::Borrowed(_)));
}

#[test]
fn secrets_are_masked_in_what_is_shown() {
    assert_eq!(masked("a = 1\ntoken = \"abc\"\n".into()), "a = 1\ntoken = *****\n");
}

/// Draws a configuration from a tape of numbers, so that what fails can be made smaller.
struct Draw<'a> {
    tape: std::slice::Iter<'a, u16>,
    out: String,
    end: &'static str,
}

impl Draw<'_> {
    fn draw(&mut self, below: u16) -> u16 {
        self.tape.next().map_or(0, |n| n % below)
    }

    fn word(&mut self, words: &[&str]) {
        let at = self.draw(u16::try_from(words.len()).expect("few"));
        self.out.push_str(words[usize::from(at)]);
    }

    /// Blanks that may be none.
    fn gap(&mut self) {
        self.word(&["", "", " ", " ", "  ", "\t", "    "]);
        if self.draw(12) == 1 {
            self.out.push_str("/* c  c */");
        }
    }

    /// At least one blank.
    fn blank(&mut self) {
        self.word(&[" ", "  ", "\t"]);
    }

    /// Within brackets: perhaps a new line, perhaps a comment.
    fn wide(&mut self, lines: bool) {
        self.gap();
        if lines && self.draw(4) == 1 {
            self.word(&["", "# c  c", "// é"]);
            self.out.push_str(self.end);
            self.gap();
        }
    }

    fn name(&mut self) {
        self.word(&["a", "bb", "ccc-c", "in_", "x1", "été", "for_each", "long_name_here"]);
    }

    fn body(&mut self, depth: u16) {
        for i in 0..self.draw(6) {
            self.gap();
            match self.draw(8) {
                0 => {}
                1 => self.word(&["# a  comment", "// b", "#"]),
                2 | 3 if depth > 0 => {
                    self.name();
                    for _ in 0..self.draw(3) {
                        self.blank();
                        self.word(&["\"a\"", "\"b c\"", "\"é\""]);
                    }
                    self.bare_gap();
                    match self.draw(4) {
                        0 => self.out.push_str("{}"),
                        1 => {
                            self.out.push('{');
                            self.gap();
                            self.attribute(0, false, 100);
                            self.gap();
                            self.out.push('}');
                        }
                        _ => {
                            self.out.push('{');
                            self.comment();
                            self.body(depth - 1);
                            self.gap();
                            self.out.push('}');
                        }
                    }
                }
                _ => self.attribute(depth, true, i),
            }
            self.comment();
        }
    }

    /// As before a block's body: no comment.
    fn bare_gap(&mut self) {
        self.word(&["", " ", "   "]);
    }

    /// The end of a line, with a comment or none.
    fn comment(&mut self) {
        self.gap();
        if self.draw(3) == 1 {
            self.word(&["# c", "// c  c", "#é"]);
        }
        self.out.push_str(self.end);
    }

    /// Names must differ within a body.
    fn attribute(&mut self, depth: u16, heredocs: bool, number: u16) {
        self.name();
        self.out.push_str(&number.to_string());
        self.gap();
        self.out.push('=');
        self.gap();
        if heredocs && self.draw(10) == 1 {
            let (open, lines) = (["<<", "<<-"][usize::from(self.draw(2))], 1 + self.draw(4));
            self.out.push_str(open);
            self.out.push_str("EOT");
            self.out.push_str(self.end);
            for _ in 0..lines {
                self.word(&["", "  x  =  1 ", "\tEOT-no", "  \"[{ #", "${var.a}", " $${ x", "%{if var.b}", "  EOTX"]);
                if self.out.ends_with("%{if var.b}") {
                    self.out.push_str("y%{endif}");
                }
                self.out.push_str(self.end);
            }
            self.bare_gap();
            self.out.push_str("EOT");
            // Nothing may follow on its line.
            self.out.push_str(self.end);
        } else {
            self.expression(depth.min(3));
        }
    }

    fn expression(&mut self, depth: u16) {
        let choice = if depth == 0 { self.draw(6) } else { self.draw(19) };
        let inner = depth.saturating_sub(1);
        match choice {
            0 => self.word(&["1", "0", "1.5", "1e3", "2E-7", "100"]),
            1 => self.word(&["\"\"", "\"a  b\"", "\"é\\\"\\n\"", "\"$${x} %%{\"", "\"#{ // [\"", "\"日本\""]),
            2 => self.word(&["true", "false", "null"]),
            3 => self.word(&["var.a", "local.b.c", "each.key", "storage.default", "x"]),
            4 | 5 => {
                self.word(&["var.a", "f(1)", "(a)"]);
                for _ in 0..self.draw(3) {
                    self.word(&[".b", "[0]", "[\"k\"]", ".c-d"]);
                }
                self.word(&["", "", "[*]", "[*].e", ".*.e"]);
            }
            6 | 7 => {
                self.expression(inner);
                self.gap();
                self.out.push(' ');
                self.word(&["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||"]);
                self.out.push(' ');
                self.gap();
                self.expression(inner);
            }
            8 => {
                self.word(&["-", "!", "- ", "!  "]);
                self.expression(0);
            }
            9 => {
                self.out.push('(');
                self.wide(true);
                self.expression(inner);
                self.wide(true);
                self.out.push(')');
            }
            10 => {
                self.expression(inner);
                self.blank();
                self.out.push('?');
                self.gap();
                self.expression(inner);
                self.blank();
                self.out.push(':');
                self.gap();
                self.expression(inner);
            }
            11 | 12 => self.items('[', ']', inner, false),
            13 => {
                self.word(&["f", "startswith", "values"]);
                self.items('(', ')', inner, false);
            }
            14 | 15 => self.items('{', '}', inner, true),
            16 => {
                self.out.push('[');
                self.wide(true);
                self.out.push_str("for");
                self.blank();
                self.word(&["k, v", "v", "k ,v"]);
                self.blank();
                self.out.push_str("in");
                self.blank();
                self.expression(inner);
                self.blank();
                self.out.push(':');
                self.gap();
                self.expression(inner);
                if self.draw(3) == 1 {
                    self.blank();
                    self.out.push_str("if");
                    self.blank();
                    self.expression(inner);
                }
                self.wide(true);
                self.out.push(']');
            }
            17 => {
                self.out.push_str("{for k, v in var.m");
                self.blank();
                self.out.push(':');
                self.gap();
                self.expression(0);
                self.blank();
                self.out.push_str("=>");
                self.gap();
                self.expression(0);
                self.word(&["", "...", " ..."]);
                self.gap();
                self.out.push('}');
            }
            _ => {
                // Never a lone `${…}`: Terraform takes its quotes away.
                self.out.push_str("\"x ");
                self.word(&["${", "${~"]);
                self.gap();
                self.expression(inner);
                self.gap();
                self.word(&["}", "~}"]);
                self.word(&["", "  y", "${var.z}", "%{ if var.b ~} 1 %{else}2%{ endif }"]);
                self.out.push('"');
            }
        }
    }

    fn items(&mut self, open: char, close: char, inner: u16, keys: bool) {
        self.out.push(open);
        self.wide(true);
        for i in 0..self.draw(4) {
            if i > 0 {
                self.out.push(',');
                self.wide(true);
            }
            if keys {
                self.word(&["a", "bb", "\"c d\"", "(x)", "long_key"]);
                self.out.push_str(&if self.out.ends_with(['"', ')']) { String::new() } else { i.to_string() });
                self.gap();
                self.word(&["=", ":", " ="]);
                self.gap();
            }
            self.expression(inner);
            self.wide(!keys);
        }
        self.out.push(close);
    }
}

fn drawn(tape: &[u16], crlf: bool) -> String {
    let end = if crlf { "\r\n" } else { "\n" };
    let mut draw = Draw { tape: tape.iter(), out: String::new(), end };
    draw.body(4);
    draw.out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn generated_texts_keep_their_meaning_and_come_to_rest(
        tape in proptest::collection::vec(any::<u16>(), 0..400), crlf in any::<bool>()
    ) {
        let text = drawn(&tape, crlf);
        // Another reading of both, by another decoder; blanks in it stand within `${…}` and in texts.
        let read = |text: &str| hcl::parse(text).map(|body| format!("{body:?}").replace(' ', "").replace("\\t", "")).ok();
        let before = read(&text);
        prop_assume!(before.is_some());
        let formatted = canonical(&text);
        prop_assert_eq!(before, read(&formatted), "{}\n{}", text, formatted);
        prop_assert_eq!(canonical(&formatted), formatted);
    }

    #[test]
    fn the_lexer_loses_no_byte(text in "[ -~\\n\\r\\té\u{301}]{0,80}") {
        let tokens = token::tokens(&text);
        let mut at = 0;
        for token in &tokens {
            prop_assert!(text[at..token.start].chars().all(|c| c == ' ' || c == '\t'), "{:?}", text);
            prop_assert!(token.start < token.end);
            at = token.end;
        }
        prop_assert!(text[at..].chars().all(|c| c == ' ' || c == '\t'), "{:?}", text);
        layout::print(&text, &tokens);
    }

    #[test]
    fn no_words_make_it_panic(words in proptest::collection::vec(0..WORDS.len(), 0..40)) {
        let text: String = words.into_iter().map(|i| WORDS[i]).collect();
        if let Ok(formatted) = format(&text) {
            prop_assert_eq!(canonical(&formatted), formatted);
        }
    }
}

const WORDS: &[&str] = &[
    "a", "b", " ", "\n", "\r\n", "=", "{", "}", "[", "]", "(", ")", "\"", "${", "%{", "~", "<<EOT\n", "<<-EOT\n",
    "EOT", "\\", "#", "//", "/*", "*/", ",", ".", "...", ":", "::", "?", "-", "!", "1", "1.5", "e3", "in", "for", "if",
    "=>", "é", "\t", "a = 1\n", "b {\n", "\r",
];

/// Runs Terraform on texts; `None`, told loudly, when it is not there.
fn terraform(texts: &[String]) -> Option<Vec<String>> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (i, text) in texts.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{i:05}.tf")), text).expect("written");
    }
    let output = Command::new("terraform")
        .args(["fmt", "-list=false"])
        .env("CHECKPOINT_DISABLE", "1")
        .current_dir(&folder)
        .output();
    let Ok(output) = output else {
        eprintln!("SKIPPED: no comparison with `terraform fmt`, because terraform is not on PATH");
        return None;
    };
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "terraform refuses a text: {told}");
    let read = |i| std::fs::read_to_string(folder.path().join(format!("{i:05}.tf"))).expect("read");
    Some((0..texts.len()).map(read).collect())
}

#[test]
fn terraform_formats_the_project_alike() {
    let mut named = Vec::new();
    for (path, text) in texts("examples", ".hcl").into_iter().chain(texts("testdata", ".hcl")) {
        let Ok(ours) = format(&text) else { continue };
        // Blanks within `%{…}` in a heredoc, a lone `${…}`, a type in quotes.
        const DIFFER: [&str; 3] = ["bad/heredoc/main.hcl", "bad/types/main.hcl", "bad/variables/main.hcl"];
        let differs = DIFFER.iter().any(|name| path.ends_with(Utf8Path::new("testdata/config").join(name)));
        let pair = [".out.hcl", ".terraform.hcl"].iter().any(|ending| path.as_str().ends_with(ending));
        if differs || pair {
            continue;
        }
        let other = path.as_str().strip_suffix(".in.hcl").map(|name| format!("{name}.terraform.hcl"));
        let other = other.and_then(|name| std::fs::read_to_string(name).ok());
        named.push((path, text, other.unwrap_or(ours)));
    }
    let texts: Vec<String> = named.iter().map(|(_, text, _)| text.clone()).collect();
    let Some(theirs) = terraform(&texts) else { return };
    for ((path, _, expected), theirs) in named.iter().zip(theirs) {
        assert_eq!(*expected, theirs, "{path}");
    }
}

#[test]
fn terraform_formats_generated_texts_alike() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let tapes = proptest::collection::vec(any::<u16>(), 50..500);
    let mut texts = Vec::new();
    while texts.len() < 1_500 {
        let tape = tapes.new_tree(&mut runner).expect("a tape").current();
        let text = drawn(&tape, tape.len() % 5 == 0);
        if format(&text).is_ok() {
            texts.push(text);
        }
    }
    let Some(theirs) = terraform(&texts) else { return };
    for (text, theirs) in texts.iter().zip(theirs) {
        assert_eq!(canonical(text), theirs, "{text}");
    }
}
