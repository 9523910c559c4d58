//! A scanner over JSON text that yields where values stand, in one pass and without a tree.
//!
//! It takes what the real client takes and stricter parsers do not: byte order marks in front, the same name twice (who
//! reads a document lets the last win), a comma after the last item, control characters and lone surrogates in strings.
//! It builds no values beyond the strings asked for, changes nothing, and refuses text that is cut off, nested deeper
//! than [`MAX_DEPTH`], or followed by more than white space.

mod text;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

pub use text::{decode_string, encode_string};

use super::ReadError;

/// Deepest nesting of arrays and objects: the limit of the real client's own parser. It bounds recursion over a document
/// and lets [`Scanner::skip`] keep the kinds of all open containers in one word.
pub const MAX_DEPTH: u32 = 64;

/// The kinds of a JSON value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `[…]`
    Array,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
    /// A number.
    Number,
    /// `{…}`
    Object,
    /// A string.
    String,
}

/// A string in a text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Text<'a> {
    /// Where it stands, quotes included, in bytes.
    pub span: Range<usize>,
    /// What it says, without quotes and escapes.
    pub content: Cow<'a, str>,
}

/// Checks that `text` is one complete JSON value and tells its kind.
///
/// # Errors
/// If it is not, with the place.
pub fn complete_value(text: &str) -> Result<Kind, ReadError> {
    let mut scanner = Scanner::new("JSON document", text);
    let kind = scanner.peek()?;
    scanner.skip()?;
    scanner.end()?;
    Ok(kind)
}

/// Whether an item of a container is the first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    First,
    Later,
}

/// Reads one JSON text from front to back. After an error it must not be used further.
#[derive(Debug)]
pub struct Scanner<'a> {
    what: &'static str,
    text: &'a str,
    /// Where reading goes on; always on a character boundary, since only ASCII is stepped over outside strings.
    at: usize,
    /// How many containers are open.
    depth: u32,
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of `text`, whose errors speak of `what`.
    #[must_use]
    pub fn new(what: &'static str, text: &'a str) -> Self {
        Self {
            what,
            text,
            at: text.len() - text.trim_start_matches('\u{feff}').len(),
            depth: 0,
        }
    }

    /// Where reading goes on, in bytes: inside [`Scanner::object`] and [`Scanner::array`] that is where a value begins, and
    /// behind one that was read, its end.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// An error at the place where reading goes on.
    #[must_use]
    pub fn error(&self, problem: impl Into<String>) -> ReadError {
        ReadError {
            what: self.what,
            at: Some(self.at),
            problem: problem.into(),
        }
    }

    /// The string at `span`, which [`Scanner::string`] gave, without quotes and escapes.
    #[must_use]
    pub fn decode(&self, span: &Range<usize>) -> Cow<'a, str> {
        decode_string(self.text.get(span.clone()).unwrap_or_default())
    }

    /// The kind of the next value, which stays unread.
    ///
    /// # Errors
    /// If no value begins here.
    pub fn peek(&mut self) -> Result<Kind, ReadError> {
        self.space();
        match self.byte() {
            Some(b'[') => Ok(Kind::Array),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b'{') => Ok(Kind::Object),
            Some(b'"') => Ok(Kind::String),
            _ => Err(self.expected("a value")),
        }
    }

    /// Reads an object and gives its span. `member` is called with each name, the scanner standing before the value; a
    /// value that it leaves unread is skipped. A name that occurs twice comes twice.
    ///
    /// # Errors
    /// If the next value is no object or not well formed, or `member` fails.
    pub fn object<F>(&mut self, mut member: F) -> Result<Range<usize>, ReadError>
    where
        F: FnMut(&mut Self, Cow<'a, str>) -> Result<(), ReadError>,
    {
        let start = self.open(b'{', "an object")?;
        let mut place = Place::First;
        while self.item(b'}', place)? {
            let name = self.name()?;
            let (before, name) = (self.at, self.decode(&name));
            member(self, name)?;
            if self.at == before {
                self.skip()?;
            }
            place = Place::Later;
        }
        Ok(start..self.at)
    }

    /// Reads an array and gives its span. `item` is called for each item, the scanner standing before it; an item that
    /// it leaves unread is skipped.
    ///
    /// # Errors
    /// If the next value is no array or not well formed, or `item` fails.
    pub fn array<F>(&mut self, mut item: F) -> Result<Range<usize>, ReadError>
    where
        F: FnMut(&mut Self) -> Result<(), ReadError>,
    {
        let start = self.open(b'[', "an array")?;
        let mut place = Place::First;
        while self.item(b']', place)? {
            let before = self.at;
            item(self)?;
            if self.at == before {
                self.skip()?;
            }
            place = Place::Later;
        }
        Ok(start..self.at)
    }

    /// Reads a string and gives its span, quotes included.
    ///
    /// # Errors
    /// If the next value is no string or not well formed.
    pub fn string(&mut self) -> Result<Range<usize>, ReadError> {
        self.space();
        let start = self.at;
        self.expect(b'"', "a string")?;
        loop {
            let rest = self.rest();
            let Some(run) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
                self.at = self.text.len();
                return Err(self.expected("'\"'"));
            };
            let mark = rest[run];
            self.at += run + 1;
            if mark == b'"' {
                return Ok(start..self.at);
            }
            self.escape()?;
        }
    }

    /// Reads a string; any other value is skipped and gives `None`.
    ///
    /// # Errors
    /// If the next value is not well formed.
    pub fn text(&mut self) -> Result<Option<Text<'a>>, ReadError> {
        if self.peek()? != Kind::String {
            self.skip()?;
            return Ok(None);
        }
        let span = self.string()?;
        let content = self.decode(&span);
        Ok(Some(Text { span, content }))
    }

    /// Reads `true` or `false`, also written as a string, as the real client does; any other value is skipped and gives
    /// `None`.
    ///
    /// # Errors
    /// If the next value is not well formed.
    pub fn boolean(&mut self) -> Result<Option<bool>, ReadError> {
        let span = self.skip()?;
        let raw = self.text.get(span).unwrap_or_default();
        Ok(match raw.trim_matches('"').to_ascii_lowercase().as_str() {
            "false" => Some(false),
            "true" => Some(true),
            _ => None,
        })
    }

    /// Reads a whole number that is not negative, also written as a string; any other value is skipped and gives `None`.
    ///
    /// # Errors
    /// If the next value is not well formed.
    pub fn integer(&mut self) -> Result<Option<u64>, ReadError> {
        let span = self.skip()?;
        let raw = self.text.get(span).unwrap_or_default();
        Ok(raw.trim_matches('"').parse().ok())
    }

    /// Skips a value, checking that it is well formed, and gives its span. Allocates nothing.
    ///
    /// # Errors
    /// If it is not well formed.
    pub fn skip(&mut self) -> Result<Range<usize>, ReadError> {
        self.space();
        let (start, outer) = (self.at, self.depth);
        // One bit for each open container, the innermost lowest: 1 is an object.
        let mut objects: u64 = 0;
        loop {
            let mut place = match self.peek()? {
                Kind::Array => {
                    self.open(b'[', "an array")?;
                    objects <<= 1;
                    Place::First
                }
                Kind::Object => {
                    self.open(b'{', "an object")?;
                    objects = (objects << 1) | 1;
                    Place::First
                }
                kind => {
                    self.scalar(kind)?;
                    Place::Later
                }
            };
            loop {
                if self.depth == outer {
                    return Ok(start..self.at);
                }
                let close = if objects & 1 == 1 { b'}' } else { b']' };
                if self.item(close, place)? {
                    if close == b'}' {
                        self.name()?;
                    }
                    break;
                }
                objects >>= 1;
                place = Place::Later;
            }
        }
    }

    /// Checks that nothing but white space follows.
    ///
    /// # Errors
    /// If something does.
    pub fn end(&mut self) -> Result<(), ReadError> {
        self.space();
        match self.byte() {
            None => Ok(()),
            Some(_) => Err(self.expected("the end of the text")),
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        let rest = self.rest();
        let run = rest
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.at += run.unwrap_or(rest.len());
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.byte() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, name: &str) -> Result<(), ReadError> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.expected(name))
        }
    }

    fn expected(&self, name: &str) -> ReadError {
        match self
            .text
            .get(self.at..)
            .and_then(|rest| rest.chars().next())
        {
            Some(found) => self.error(format!("expected {name}, found {found:?}")),
            None => self.error(format!("expected {name}, found the end of the text")),
        }
    }

    fn open(&mut self, mark: u8, name: &str) -> Result<usize, ReadError> {
        self.space();
        let start = self.at;
        self.expect(mark, name)?;
        if self.depth == MAX_DEPTH {
            return Err(self.error(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        Ok(start)
    }

    /// Steps over what separates items, and tells whether one follows; else the container is closed.
    fn item(&mut self, close: u8, place: Place) -> Result<bool, ReadError> {
        self.space();
        if place == Place::Later {
            if self.eat(b',') {
                self.space();
            } else if self.byte() != Some(close) {
                return Err(self.expected(if close == b'}' {
                    "',' or '}'"
                } else {
                    "',' or ']'"
                }));
            }
        }
        let closed = self.eat(close);
        self.depth -= u32::from(closed);
        Ok(!closed)
    }

    /// Reads a member's name and colon, up to its value.
    fn name(&mut self) -> Result<Range<usize>, ReadError> {
        let name = self.string()?;
        self.space();
        self.expect(b':', "':'")?;
        self.space();
        Ok(name)
    }

    fn escape(&mut self) -> Result<(), ReadError> {
        let mark = self.byte();
        match mark {
            // An escaped apostrophe is no JSON, but the real client reads it.
            Some(b'"' | b'\'' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u') => {
                self.at += 1;
            }
            _ => return Err(self.expected("an escape")),
        }
        if mark == Some(b'u') {
            for _ in 0..4 {
                if !self.byte().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                    return Err(self.expected("a hexadecimal digit"));
                }
                self.at += 1;
            }
        }
        Ok(())
    }

    fn scalar(&mut self, kind: Kind) -> Result<(), ReadError> {
        let words: &[&str] = match kind {
            Kind::Bool => &["true", "false"],
            Kind::Null => &["null"],
            Kind::Number => return self.number(),
            Kind::Array | Kind::Object | Kind::String => return self.string().map(|_| ()),
        };
        let word = words
            .iter()
            .find(|word| self.rest().starts_with(word.as_bytes()));
        match word {
            Some(word) => {
                self.at += word.len();
                Ok(())
            }
            None => Err(self.expected("a value")),
        }
    }

    fn number(&mut self) -> Result<(), ReadError> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ReadError> {
        let rest = self.rest();
        let run = rest.iter().position(|byte| !byte.is_ascii_digit());
        match run.unwrap_or(rest.len()) {
            0 => Err(self.expected("a digit")),
            run => {
                self.at += run;
                Ok(())
            }
        }
    }
}
