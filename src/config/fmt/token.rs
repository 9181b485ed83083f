//! Cuts a text that the parser has accepted into tokens, with the blanks between them left out. Knows nothing of
//! meaning. Iterative: no input can overflow its stack. What it does not understand becomes a token as it stands, so
//! that nothing is ever lost.

use hcl::edit::Ident;

/// What a token is, as far as spacing depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Name,
    /// The keyword `in`, where it may be one.
    In,
    Number,
    /// `"`, at the beginning and at the end of a text.
    OpenQuote,
    CloseQuote,
    /// What stands between quotes, outside of `${…}` and `%{…}`.
    Text,
    /// A heredoc from `<<` to its last word, whatever is in it.
    Heredoc,
    /// `(` and `)`.
    OpenParen,
    CloseParen,
    /// `[` and `]`.
    OpenBracket,
    CloseBracket,
    /// `{` and `}`.
    OpenBrace,
    CloseBrace,
    /// `${`, `%{` in a text, with the `~` behind.
    OpenTemplate,
    /// The `}` or `~}` that ends it.
    CloseTemplate,
    /// `=`.
    Assign,
    /// `-`.
    Minus,
    /// `!`.
    Not,
    /// `.`.
    Dot,
    /// `,`.
    Comma,
    /// `:` and `?`.
    Colon,
    /// `::`.
    DoubleColon,
    /// `...`.
    Ellipsis,
    /// What stands between two operands: after it, `-` is a sign.
    Operator,
    /// `/* … */`.
    InlineComment,
    /// `# …` and `// …`, with the line's end.
    Comment,
    /// The end of a line: LF or CR LF.
    Newline,
    Other,
}

impl Kind {
    /// +1 for what opens, -1 for what closes.
    pub(super) fn opens(self) -> i64 {
        match self {
            Self::OpenParen | Self::OpenBracket | Self::OpenBrace | Self::OpenTemplate => 1,
            Self::CloseParen | Self::CloseBracket | Self::CloseBrace | Self::CloseTemplate => -1,
            _ => 0,
        }
    }
}

/// A token and where it stands, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Token {
    pub(super) fn text(self, whole: &str) -> &str {
        whole.get(self.start..self.end).unwrap_or("")
    }
}

/// What the lexer is inside of.
enum Inside<'a> {
    /// Something that `}` closes and that is no template: outside of everything too.
    Brace,
    /// `${` or `%{`.
    Template,
    Quotes,
    Heredoc(&'a str),
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    inside: Vec<Inside<'a>>,
    tokens: Vec<Token>,
    /// Where the outermost heredoc began, and the depth at which it ends.
    verbatim: Option<(usize, usize)>,
}

/// Cuts a text into tokens.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer =
        Lexer { text, at: 0, inside: Vec::new(), tokens: Vec::with_capacity(text.len() / 5), verbatim: None };
    while lexer.at < text.len() {
        match lexer.inside.last() {
            Some(Inside::Quotes) => lexer.quoted(),
            Some(Inside::Heredoc(word)) => {
                let word = *word;
                lexer.heredoc(word);
            }
            _ => lexer.plain(),
        }
    }
    if let Some((start, _)) = lexer.verbatim {
        // Never closed: not a text that the parser accepts, but nothing is lost.
        lexer.tokens.push(Token { kind: Kind::Heredoc, start, end: text.len() });
    }
    lexer.tokens
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// Takes so many bytes as a token, unless they are part of a heredoc.
    fn take(&mut self, kind: Kind, length: usize) {
        let start = self.at;
        self.at += length;
        if self.verbatim.is_none() {
            self.tokens.push(Token { kind, start, end: self.at });
        }
    }

    /// Within quotes: up to what ends the literal part.
    fn quoted(&mut self) {
        let bytes = self.rest().as_bytes();
        let mut length = 0;
        while let Some(byte) = bytes.get(length) {
            match (byte, bytes.get(length + 1), bytes.get(length + 2)) {
                (b'"', ..) | (b'$' | b'%', Some(b'{'), _) => break,
                (b'\\', Some(_), _) => length += 2,
                (b'$', Some(b'$'), Some(b'{')) | (b'%', Some(b'%'), Some(b'{')) => length += 3,
                _ => length += 1,
            }
        }
        // A backslash may stand before a character of several bytes, in a text that the parser refuses.
        while !self.text.is_char_boundary(self.at + length) {
            length += 1;
        }
        if length > 0 {
            self.take(Kind::Text, length);
        } else if bytes.first() == Some(&b'"') {
            self.take(Kind::CloseQuote, 1);
            self.inside.pop();
        } else {
            self.open_template();
        }
    }

    fn open_template(&mut self) {
        let strips = self.rest().as_bytes().get(2) == Some(&b'~');
        self.take(Kind::OpenTemplate, 2 + usize::from(strips));
        self.inside.push(Inside::Template);
    }

    /// Within a heredoc: up to a template in it, or past the word that ends it.
    fn heredoc(&mut self, word: &str) {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if self.at > 0 && bytes.get(self.at - 1) == Some(&b'\n') {
                let line = self.rest();
                let trimmed = line.trim_start_matches([' ', '\t']);
                if let Some(after) = trimmed.strip_prefix(word)
                    && !after.starts_with(continues)
                {
                    self.at += line.len() - after.len();
                    self.inside.pop();
                    if let Some((start, depth)) = self.verbatim
                        && depth == self.inside.len()
                    {
                        self.verbatim = None;
                        self.tokens.push(Token { kind: Kind::Heredoc, start, end: self.at });
                    }
                    return;
                }
            }
            match (byte, bytes.get(self.at + 1), bytes.get(self.at + 2)) {
                (b'$', Some(b'$'), Some(b'{')) | (b'%', Some(b'%'), Some(b'{')) => self.at += 3,
                (b'$' | b'%', Some(b'{'), _) => return self.open_template(),
                _ => self.at += 1,
            }
        }
    }

    /// Outside of texts.
    fn plain(&mut self) {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
        let (kind, length) = match at(0) {
            b' ' | b'\t' => {
                self.at += 1;
                return;
            }
            b'\n' => (Kind::Newline, 1),
            b'\r' if at(1) == b'\n' => (Kind::Newline, 2),
            b'#' => (Kind::Comment, line(rest)),
            b'/' if at(1) == b'/' => (Kind::Comment, line(rest)),
            b'/' if at(1) == b'*' => {
                (Kind::InlineComment, rest.get(2..).and_then(|r| r.find("*/")).map_or(rest.len(), |n| n + 4))
            }
            b'"' => {
                self.take(Kind::OpenQuote, 1);
                return self.inside.push(Inside::Quotes);
            }
            b'<' if at(1) == b'<' => match opening(rest) {
                Some((word, length)) => {
                    if self.verbatim.is_none() {
                        self.verbatim = Some((self.at, self.inside.len()));
                    }
                    self.at += length;
                    return self.inside.push(Inside::Heredoc(word));
                }
                None => (Kind::Operator, 1),
            },
            b'{' => {
                self.inside.push(Inside::Brace);
                (Kind::OpenBrace, 1)
            }
            b'}' => match self.inside.pop() {
                Some(Inside::Template) => (Kind::CloseTemplate, 1),
                _ => (Kind::CloseBrace, 1),
            },
            b'~' if at(1) == b'}' && matches!(self.inside.last(), Some(Inside::Template)) => {
                self.inside.pop();
                (Kind::CloseTemplate, 2)
            }
            b'(' => (Kind::OpenParen, 1),
            b')' => (Kind::CloseParen, 1),
            b'[' => (Kind::OpenBracket, 1),
            b']' => (Kind::CloseBracket, 1),
            b',' => (Kind::Comma, 1),
            b'.' if at(1) == b'.' && at(2) == b'.' => (Kind::Ellipsis, 3),
            b'.' => (Kind::Dot, 1),
            b':' if at(1) == b':' => (Kind::DoubleColon, 2),
            b':' | b'?' => (Kind::Colon, 1),
            b'=' if matches!(at(1), b'=' | b'>') => (if at(1) == b'=' { Kind::Operator } else { Kind::Other }, 2),
            b'=' => (Kind::Assign, 1),
            b'!' | b'<' | b'>' if at(1) == b'=' => (Kind::Operator, 2),
            b'&' | b'|' if at(1) == at(0) => (Kind::Operator, 2),
            b'!' => (Kind::Not, 1),
            b'-' => (Kind::Minus, 1),
            b'+' | b'*' | b'/' | b'%' | b'<' | b'>' => (Kind::Operator, 1),
            b'0'..=b'9' => (Kind::Number, number(bytes)),
            _ => {
                let name = rest.find(|c: char| !continues(c)).unwrap_or(rest.len());
                match rest.get(..name) {
                    Some("in") => (Kind::In, name),
                    Some(word) if !word.is_empty() => (Kind::Name, name),
                    _ => (Kind::Other, rest.chars().next().map_or(1, char::len_utf8)),
                }
            }
        };
        self.take(kind, length);
    }
}

/// True for what may follow in a name.
fn continues(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-') || !c.is_ascii() && Ident::try_new(format!("a{c}")).is_ok()
}

/// The length up to the line's end, which is part of it.
fn line(rest: &str) -> usize {
    rest.find('\n').map_or(rest.len(), |n| n + 1)
}

/// The word and the length of what opens a heredoc.
fn opening(rest: &str) -> Option<(&str, usize)> {
    let name = rest.get(2..)?;
    let name = name.strip_prefix('-').unwrap_or(name);
    let length = name.find(|c: char| !continues(c)).unwrap_or(name.len());
    let word = name.get(..length).filter(|word| !word.is_empty())?;
    Some((word, rest.len() - name.len() + length))
}

/// The length of a number.
fn number(bytes: &[u8]) -> usize {
    let digits = |from: usize| bytes.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let mut length = digits(0);
    if bytes.get(length) == Some(&b'.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits(length + 1 + sign);
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    length
}
