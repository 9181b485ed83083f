//! Regular expressions as Terraform has them, RE2's syntax as Go reads it, written anew for the library that matches:
//! its own dialect gives some of the same signs another meaning, and takes much that RE2 refuses.
//!
//! Source of the rules: the package `regexp/syntax` of Go, with the flags that `regexp.Compile` sets. Linear: what is
//! read is written once for each group around it, and groups nest at most [`DEPTH`] deep.

use std::fmt::Write as _;

/// Deepest nesting of groups and of repetitions within repetitions: the library's own bound.
const DEPTH: u32 = 200;
/// Most that a part may be repeated, all counts around it multiplied.
const REPEATS: u32 = 1000;

const DIGIT: &str = "0-9";
const SPACE: &str = r"\t\n\x0C\r\x20";
const WORD: &str = "0-9A-Za-z_";
/// A class that nothing is in.
const NOTHING: &str = r"[^\x{0}-\x{10FFFF}]";

/// What is in the classes that have names, `[:alpha:]`.
const NAMED: &[(&str, &str)] = &[
    ("alnum", "0-9A-Za-z"),
    ("alpha", "A-Za-z"),
    ("ascii", r"\x00-\x7F"),
    ("blank", r"\t\x20"),
    ("cntrl", r"\x00-\x1F\x7F"),
    ("digit", DIGIT),
    ("graph", r"\x21-\x7E"),
    ("lower", "a-z"),
    ("print", r"\x20-\x7E"),
    ("punct", r"\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E"),
    ("space", r"\x09-\x0D\x20"),
    ("upper", "A-Z"),
    ("word", WORD),
    ("xdigit", "0-9A-Fa-f"),
];

/// The general categories that have names.
const CATEGORIES: &str = "C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So \
                          Z Zl Zp Zs";

/// The scripts that have names, Unicode 15.
const SCRIPTS: &str = "Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali \
                       Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian \
                       Chakma Cham Cherokee Chorasmian Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret \
                       Devanagari Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Georgian \
                       Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi Gurmukhi Han Hangul Hanifi_Rohingya \
                       Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited Inscriptional_Pahlavi \
                       Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi \
                       Khitan_Small_Script Khmer Khojki Khudawadi Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian \
                       Lydian Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi Medefaidrin \
                       Meetei_Mayek Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro \
                       Multani Myanmar Nabataean Nag_Mundari Nandinagari New_Tai_Lue Newa Nko Nushu \
                       Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Old_Hungarian Old_Italic Old_North_Arabian Old_Permic \
                       Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage Osmanya \
                       Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan \
                       Saurashtra Sharada Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese \
                       Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu \
                       Thaana Thai Tibetan Tifinagh Tirhuta Toto Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi \
                       Zanabazar_Square";

/// What `(?flags)` sets.
#[derive(Clone, Copy, Default)]
struct Flags {
    /// `i`: upper and lower case are the same.
    fold: bool,
    /// `m`: `^` and `$` stand for the ends of each line.
    lines: bool,
    /// `s`: `.` takes a newline too.
    newline: bool,
    /// `U`: repetitions take as little as they can, and with `?` behind them as much.
    lazy: bool,
}

/// What was read and can be repeated.
struct Atom {
    text: String,
    /// How deep it nests.
    depth: u32,
    /// How often what is in it is repeated at most.
    repeats: u32,
}

/// A group that is open, or the whole.
struct Group {
    /// How it is written.
    opens: String,
    /// What holds again behind it.
    outer: Flags,
    /// The alternatives that are complete.
    done: String,
    atoms: Vec<Atom>,
    depth: u32,
    repeats: u32,
}

impl Group {
    fn new(opens: String, outer: Flags) -> Self {
        Self { opens, outer, done: String::new(), atoms: Vec::new(), depth: 0, repeats: 1 }
    }

    /// Ends an alternative.
    fn end(&mut self) {
        for atom in self.atoms.drain(..) {
            self.done.push_str(&atom.text);
            self.depth = self.depth.max(atom.depth);
            self.repeats = self.repeats.max(atom.repeats);
        }
    }
}

/// Reads a pattern.
struct Reader<'a> {
    rest: &'a str,
    flags: Flags,
    groups: Vec<Group>,
    /// Something was repeated just now.
    repeated: bool,
    /// No name of a class ends in what is left: looking again would take long.
    nameless: bool,
}

/// Writes a pattern of RE2 for the library that matches.
///
/// # Errors
/// What RE2 refuses, in words that go on after "this is not a regular expression: ".
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    let root = Group::new(String::new(), Flags::default());
    let mut reader =
        Reader { rest: pattern, flags: Flags::default(), groups: vec![root], repeated: false, nameless: false };
    while let Some(next) = reader.rest.chars().next() {
        let repeated = std::mem::take(&mut reader.repeated);
        reader.part(next, repeated)?;
    }
    let mut groups = reader.groups;
    match (groups.pop(), groups.is_empty()) {
        (Some(mut root), true) => {
            root.end();
            Ok(root.done)
        }
        _ => Err("a group that opens with `(` is not closed by `)`".to_owned()),
    }
}

impl<'a> Reader<'a> {
    /// Reads one part: a sign with a meaning, an escape, a class or a plain character.
    fn part(&mut self, next: char, repeated: bool) -> Result<(), String> {
        match next {
            '(' if self.rest.starts_with("(?") => return self.flagged(),
            '(' => {
                self.skip(1);
                return self.open("(".to_owned());
            }
            ')' => {
                self.skip(1);
                return self.close();
            }
            '|' => {
                self.skip(1);
                if let Some(group) = self.groups.last_mut() {
                    group.end();
                    group.done.push('|');
                }
            }
            '^' => self.sign(if self.flags.lines { "(?m:^)" } else { r"\A" }),
            '$' => self.sign(if self.flags.lines { "(?m:$)" } else { r"\z" }),
            '.' => self.sign(if self.flags.newline { "(?s:.)" } else { r"[^\n]" }),
            '[' => {
                let class = self.class()?;
                self.push(class);
            }
            '*' | '+' | '?' => {
                let from = self.rest;
                self.skip(1);
                return self.repeat(&next.to_string(), 1, false, from, repeated);
            }
            '{' => match count(self.rest) {
                Some(read) => return self.counted(read, repeated),
                None => {
                    self.skip(1);
                    self.character('{');
                }
            },
            '\\' => return self.escape(),
            c => {
                self.skip(c.len_utf8());
                self.character(c);
            }
        }
        Ok(())
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or("");
    }

    fn push(&mut self, text: String) {
        if let Some(group) = self.groups.last_mut() {
            group.atoms.push(Atom { text, depth: 1, repeats: 1 });
        }
    }

    fn sign(&mut self, text: &str) {
        self.skip(1);
        self.push(text.to_owned());
    }

    /// Takes a character for itself.
    fn character(&mut self, c: char) {
        let text = if c.is_ascii_alphanumeric() { c.to_string() } else { format!(r"\x{{{:X}}}", u32::from(c)) };
        self.push(self.folded(text));
    }

    fn folded(&self, text: String) -> String {
        if self.flags.fold { format!("(?i:{text})") } else { text }
    }

    fn open(&mut self, opens: String) -> Result<(), String> {
        if self.groups.len() >= DEPTH as usize {
            return Err(format!("its groups nest deeper than {DEPTH}"));
        }
        self.groups.push(Group::new(opens, self.flags));
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let group = if self.groups.len() > 1 { self.groups.pop() } else { None };
        let (Some(mut group), Some(outer)) = (group, self.groups.last_mut()) else {
            return Err("a `)` closes no group".to_owned());
        };
        group.end();
        self.flags = group.outer;
        let text = format!("{}{})", group.opens, group.done);
        outer.atoms.push(Atom { text, depth: deeper(group.depth)?, repeats: group.repeats });
        Ok(())
    }

    /// Reads what begins with `(?`: a name, or flags.
    fn flagged(&mut self) -> Result<(), String> {
        let whole = self.rest;
        let named = whole.strip_prefix("(?P<").or_else(|| whole.strip_prefix("(?<"));
        if let Some(rest) = named {
            let (name, rest) = rest.split_once('>').ok_or("the name of a group is not closed by `>`")?;
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(format!("{name:?} is no name for a group: it has letters of ASCII, digits and `_`"));
            }
            self.rest = rest;
            return self.open(format!("(?P<{name}>"));
        }
        let (mut flags, mut sets, mut some) = (self.flags, true, false);
        for (at, sign) in whole.char_indices().skip(2) {
            match sign {
                'i' => flags.fold = sets,
                'm' => flags.lines = sets,
                's' => flags.newline = sets,
                'U' => flags.lazy = sets,
                '-' if sets => {
                    (sets, some) = (false, false);
                    continue;
                }
                ':' | ')' if sets || some => {
                    self.skip(at + 1);
                    if sign == ':' {
                        self.open("(?:".to_owned())?;
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => {
                    let found = whole.get(..at + sign.len_utf8()).unwrap_or(whole);
                    return Err(format!("{found:?} begins no group; the flags are i, m, s and U"));
                }
            }
            some = true;
        }
        Err(format!("the group {whole:?} is not closed by `)`"))
    }

    /// Repeats what stands before by `{n}`, `{n,}` or `{n,m}`.
    fn counted(&mut self, (least, most, size): (u32, Option<u32>, usize), repeated: bool) -> Result<(), String> {
        let from = self.rest;
        if least > REPEATS || most.is_some_and(|most| most > REPEATS || most < least) {
            let written = from.get(..size).unwrap_or(from);
            return Err(format!("{written} counts down, or above {REPEATS}"));
        }
        let text = match most {
            Some(most) => format!("{{{least},{most}}}"),
            None => format!("{{{least},}}"),
        };
        self.skip(size);
        self.repeat(&text, most.unwrap_or(least), most == Some(0), from, repeated)
    }

    /// Repeats what stands before. `times`: how often at most, for what is bounded.
    fn repeat(&mut self, sign: &str, times: u32, never: bool, from: &str, repeated: bool) -> Result<(), String> {
        let mut lazy = self.flags.lazy;
        if self.rest.starts_with('?') {
            self.skip(1);
            lazy = !lazy;
        }
        let written = from.get(..from.len() - self.rest.len()).unwrap_or(from);
        if repeated {
            return Err(format!("`{written}` repeats a repetition; put a group around it"));
        }
        let Some(atom) = self.groups.last_mut().and_then(|group| group.atoms.last_mut()) else {
            return Err(format!("there is nothing that `{written}` could repeat"));
        };
        atom.text = format!("(?:{}){sign}{}", atom.text, if lazy { "?" } else { "" });
        atom.depth = deeper(atom.depth)?;
        atom.repeats = if never { 1 } else { atom.repeats.saturating_mul(times.max(1)) };
        if atom.repeats > REPEATS {
            return Err(format!("its repetitions come to more than {REPEATS}, all of them multiplied"));
        }
        self.repeated = true;
        Ok(())
    }

    /// Reads what begins with a backslash, outside of classes.
    fn escape(&mut self) -> Result<(), String> {
        let sign = self.rest.chars().nth(1);
        match sign {
            Some('Q') => {
                let quoted = self.rest.get(2..).unwrap_or("");
                let (quoted, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
                quoted.chars().for_each(|c| self.character(c));
                self.rest = after;
                return Ok(());
            }
            Some(c @ ('A' | 'b' | 'B' | 'z')) => {
                self.skip(2);
                self.push(match c {
                    'A' => r"\A".to_owned(),
                    'z' => r"\z".to_owned(),
                    other => format!(r"(?-u:\{other})"),
                });
                return Ok(());
            }
            _ => {}
        }
        if let Some(class) = self.shorthand()? {
            self.push(self.folded(format!("[{class}]")));
            return Ok(());
        }
        match self.escaped()? {
            Some(c) => self.character(c),
            None => self.push(NOTHING.to_owned()),
        }
        Ok(())
    }

    /// Reads `\d` and its kin, `\pL` or `\p{Greek}`, as a part of a class.
    fn shorthand(&mut self) -> Result<Option<String>, String> {
        let Some(sign) = self.rest.strip_prefix('\\').and_then(|rest| rest.chars().next()) else { return Ok(None) };
        let set = match sign.to_ascii_lowercase() {
            'd' => DIGIT,
            's' => SPACE,
            'w' => WORD,
            'p' => return self.property(sign == 'P').map(Some),
            _ => return Ok(None),
        };
        self.skip(2);
        Ok(Some(set_of(set, sign.is_ascii_uppercase())))
    }

    /// Reads `\pL` or `\p{Greek}`, as a part of a class.
    fn property(&mut self, mut negated: bool) -> Result<String, String> {
        let written = self.rest.get(2..).unwrap_or("");
        let (name, size) = match written.strip_prefix('{') {
            Some(rest) => {
                let name = rest.split_once('}').ok_or("the name of a class is not closed by `}`")?.0;
                (name, name.len() + 2)
            }
            None => {
                let size = written.chars().next().map_or(0, char::len_utf8);
                (written.get(..size).unwrap_or(""), size)
            }
        };
        let plain = name.strip_prefix('^').unwrap_or(name);
        negated ^= plain.len() != name.len();
        self.skip(2 + size);
        let known = |list: &str| list.split(' ').any(|one| one == plain);
        Ok(match plain {
            "Any" => set_of(r"\x{0}-\x{10FFFF}", negated),
            // Of what no character has, neither is part in Go.
            "Cs" => set_of(r"\x{0}-\x{10FFFF}", !negated),
            "C" => set_of(r"\p{Cc}\p{Cf}\p{Co}", negated),
            _ if !plain.is_empty() && (known(CATEGORIES) || known(SCRIPTS)) => {
                format!(r"\{}{{{plain}}}", if negated { 'P' } else { 'p' })
            }
            _ => {
                return Err(format!(
                    "there is no class {name:?} of characters; there are general categories by their short names, like \
                     Lu, and scripts, like Greek"
                ));
            }
        })
    }

    /// Reads the escape of one character. `None`: of what no text holds, half a surrogate pair.
    fn escaped(&mut self) -> Result<Option<char>, String> {
        let whole = self.rest;
        let mut signs = whole.chars().skip(1);
        let Some(first) = signs.next() else { return Err("a `\\` stands at its end".to_owned()) };
        let next = signs.next();
        let octal = |c: char| c.to_digit(8);
        let (code, size) = match first {
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => (Some(u32::from(c)), 2),
            '1'..='7' if next.and_then(octal).is_none() => (None, 2),
            '0'..='7' => {
                let digits: Vec<u32> = whole.chars().skip(1).take(3).map_while(octal).collect();
                (Some(digits.iter().fold(0, |code, digit| code * 8 + digit)), 1 + digits.len())
            }
            'x' if next == Some('{') => {
                let digits = whole.get(3..).and_then(|rest| rest.split_once('}')).map_or("", |(digits, _)| digits);
                (hexadecimal(digits), digits.len() + 4)
            }
            'x' => (whole.get(2..4).and_then(hexadecimal), 4),
            'a' => (Some(7), 2),
            'f' => (Some(12), 2),
            'n' => (Some(10), 2),
            'r' => (Some(13), 2),
            't' => (Some(9), 2),
            'v' => (Some(11), 2),
            _ => (None, 2),
        };
        let Some(code) = code else {
            let found: String = whole.chars().take(if first == 'x' { 4 } else { 2 }).collect();
            return Err(format!("`{found}` is no escape"));
        };
        self.skip(size);
        Ok(char::from_u32(code))
    }

    /// Reads a class in brackets.
    fn class(&mut self) -> Result<String, String> {
        let whole = self.rest;
        self.skip(1);
        let mut class = String::new();
        let negated = self.rest.starts_with('^');
        self.skip(usize::from(negated));
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if let Some(named) = self.named()? {
                class.push_str(&named);
            } else if let Some(short) = self.shorthand()? {
                class.push_str(&short);
            } else {
                self.range(whole, &mut class)?;
            }
        }
        self.skip(1);
        Ok(match (class.is_empty(), negated) {
            (true, false) => NOTHING.to_owned(),
            (true, true) => r"[\x{0}-\x{10FFFF}]".to_owned(),
            (false, negated) => self.folded(format!("[{}{class}]", if negated { "^" } else { "" })),
        })
    }

    /// Reads `[:alpha:]` within a class.
    fn named(&mut self) -> Result<Option<String>, String> {
        let Some(rest) = self.rest.strip_prefix("[:").filter(|_| !self.nameless) else { return Ok(None) };
        let Some((name, _)) = rest.split_once(":]") else {
            self.nameless = true;
            return Ok(None);
        };
        let plain = name.strip_prefix('^').unwrap_or(name);
        let Some((_, set)) = NAMED.iter().find(|(known, _)| *known == plain) else {
            return Err(format!("there is no class [:{name}:]"));
        };
        self.skip(name.len() + 4);
        Ok(Some(set_of(set, plain.len() != name.len())))
    }

    /// Reads a character or a range within a class.
    fn range(&mut self, whole: &str, class: &mut String) -> Result<(), String> {
        let from = self.rest;
        let low = self.member(whole)?;
        let high = if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
            self.skip(1);
            self.member(whole)?
        } else {
            low
        };
        if high < low {
            let written = from.get(..from.len() - self.rest.len()).unwrap_or(from);
            return Err(format!("the range {written} counts down"));
        }
        // No text holds half a surrogate pair.
        let surrogate = |code: u32| char::from_u32(code).is_none();
        let low = if surrogate(low) { 0xE000 } else { low };
        let high = if surrogate(high) { 0xD7FF } else { high };
        if low <= high {
            let _ = write!(class, r"\x{{{low:X}}}-\x{{{high:X}}}");
        }
        Ok(())
    }

    /// Reads one character within a class, as its number: half a surrogate pair may stand for a bound.
    fn member(&mut self, whole: &str) -> Result<u32, String> {
        match self.rest.chars().next() {
            None => Err(format!("the class {:?} is not closed by `]`", whole.chars().take(40).collect::<String>())),
            Some('\\') => Ok(self.escaped()?.map_or(0xD800, u32::from)),
            Some(c) => {
                self.skip(c.len_utf8());
                Ok(u32::from(c))
            }
        }
    }
}

fn deeper(depth: u32) -> Result<u32, String> {
    if depth >= DEPTH { Err(format!("its parts nest deeper than {DEPTH}")) } else { Ok(depth + 1) }
}

/// A set, or all that is not in it, as a part of a class.
fn set_of(set: &str, negated: bool) -> String {
    if negated { format!("[^{set}]") } else { set.to_owned() }
}

/// The number that digits write; at most that of the last character.
fn hexadecimal(digits: &str) -> Option<u32> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let significant = digits.trim_start_matches('0');
    let code = match significant {
        "" => 0,
        more => u32::from_str_radix(more, 16).ok()?,
    };
    (plain && code <= u32::from(char::MAX)).then_some(code)
}

/// Reads `{n}`, `{n,}` or `{n,m}`: both counts and the length. What is written another way is text. A count with too many
/// digits is above all that are allowed.
fn count(text: &str) -> Option<(u32, Option<u32>, usize)> {
    let number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let zeros = text.len() > 1 && text.starts_with('0');
        (plain && !zeros).then(|| text.parse().unwrap_or(u32::MAX))
    };
    let rest = text.strip_prefix('{')?;
    let (inner, after) = rest.split_at(rest.find(|c: char| !(c.is_ascii_digit() || c == ',')).unwrap_or(rest.len()));
    after.strip_prefix('}')?;
    let (least, most) = match inner.split_once(',') {
        None => (number(inner)?, Some(number(inner)?)),
        Some((least, "")) => (number(least)?, None),
        Some((least, most)) => (number(least)?, Some(number(most)?)),
    };
    Some((least, most, inner.len() + 2))
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    fn found<'t>(pattern: &str, text: &'t str) -> Vec<&'t str> {
        let written = translate(pattern).expect(pattern);
        let compiled = Regex::new(&written).unwrap_or_else(|e| panic!("{pattern}: {written}: {e}"));
        compiled.find_iter(text).map(|m| m.as_str()).collect()
    }

    #[test]
    fn patterns_mean_what_they_mean_in_re2() {
        for (pattern, text, expected) in [
            (r"\d+", "1٣2", vec!["1", "2"]),
            (r"\w+", "aéb", vec!["a", "b"]),
            (r"\s", "\u{a0}\u{b} \t", vec![" ", "\t"]),
            (r"\bb", "éb", vec!["b"]),
            (r"[a&&b]+", "a&b", vec!["a&b"]),
            ("[[a]b]", "[b] ab]", vec!["[b]", "ab]"]),
            (r"[\d-a]+", "1-a2", vec!["1-a2"]),
            ("x{,3}", "xx{,3}", vec!["x{,3}"]),
            ("a{", "a{", vec!["a{"]),
            ("a{01}", "aa{01}", vec!["a{01}"]),
            (r"a\Qb.c\Ed.", "ab.cdx", vec!["ab.cdx"]),
            (r"\Qab\E*", "abbb", vec!["abbb"]),
            (r"\Qab", "ab", vec!["ab"]),
            (r"(?i)straSSe|\x{212A}", "STRAssE k", vec!["STRAssE", "k"]),
            ("(?i:a)b", "Ab AB", vec!["Ab"]),
            ("(?s).", "\n", vec!["\n"]),
            (".", "\na", vec!["a"]),
            ("(?m)^a$", "a\na", vec!["a", "a"]),
            ("(?U)a+", "aa", vec!["a", "a"]),
            ("(?U)a+?", "aa", vec!["aa"]),
            ("a(?i)*b", "aaB", vec!["aaB"]),
            (r"\x41\x{42}\103\_", "ABC_", vec!["ABC_"]),
            ("[]a]+", "]a", vec!["]a"]),
            ("[^]a]", "]ab", vec!["b"]),
            ("[[:alpha:]_]+", "aé_1", vec!["a", "_"]),
            ("[[:^alpha:]]", "a1", vec!["1"]),
            (r"\p{Greek}\pL\p{^L}", "αβ1", vec!["αβ1"]),
            (r"\p{Cs}|\x{D800}|x", "x", vec!["x"]),
            ("(a*)*b", "aab", vec!["aab"]),
            ("", "", vec![""]),
            ("^*a", "a", vec!["a"]),
            (r"\<a", "<a", vec!["<a"]),
            (r"\b{start}", "{start} a{start}", vec!["{start}"]),
            ("[a-]b", "-b", vec!["-b"]),
            ("[+--]", ",", vec![","]),
        ] {
            assert_eq!(found(pattern, text), expected, "{pattern}");
        }
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        for pattern in [
            "a++",
            "a**",
            "a{1}{2}",
            "(?x)a",
            "(?R)",
            r"\u0041",
            r"\p{Letter}",
            r"\p{greek}",
            r"\pX",
            r"\C",
            r"\1",
            r"\8",
            r"\Z",
            r"\G",
            r"\K",
            r"\e",
            "(?=a)",
            "(?#a)",
            "(?i",
            "(?-)",
            "(",
            ")",
            "(a",
            "a)",
            "[a",
            "[",
            "[z-a]",
            r"[a-\d]",
            "[[:foo:]]",
            "*",
            "|*",
            "(*)",
            "a{2,1}",
            "a{1001}",
            "(a{100}){11}",
            "\\",
            r"\x{}",
            r"\x{110000}",
            r"\xg1",
            "(?P<>a)",
            "(?P<a b>a)",
            "(?P<a",
            r"\E",
            "[a--b]",
        ] {
            assert!(translate(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn what_is_large_is_refused_or_read_in_no_time() {
        assert!(translate(&"(".repeat(100_000)).is_err());
        assert!(translate(&"a(?i)*".repeat(100_000)).is_ok());
        assert!(translate(&format!("a{}", "(?i)*".repeat(100_000))).is_err());
        assert!(translate(&"[".repeat(1_000_000)).is_err());
        assert!(translate(&format!("[{}x]", "[:".repeat(1_000_000))).is_ok());
        assert!(translate(&"{".repeat(1_000_000)).is_ok());
    }

    #[test]
    fn all_names_of_classes_are_known_to_what_matches() {
        for name in CATEGORIES.split(' ').chain(SCRIPTS.split(' ')).chain(["Any"]) {
            let written = translate(&format!(r"\p{{{name}}}|\P{{{name}}}")).expect(name);
            assert!(Regex::new(&written).is_ok(), "{name}");
        }
    }
}
