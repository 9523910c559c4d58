//! The content of JSON strings, from and to their written form.

use std::borrow::Cow;

/// The content of a JSON string written as `raw`, quotes included. Copies only where there are escapes; a lone surrogate
/// becomes U+FFFD. `raw` must be well formed, as [`super::Scanner::string`] makes sure: an escape that is not is dropped.
#[must_use]
pub fn decode_string(raw: &str) -> Cow<'_, str> {
    let raw = raw.strip_prefix('"').unwrap_or(raw);
    let raw = raw.strip_suffix('"').unwrap_or(raw);
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let mut chars = after.chars();
        let mark = chars.next();
        rest = chars.as_str();
        match mark {
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some('u') => {
                let (c, after) = code_point(rest);
                text.push(c);
                rest = after;
            }
            Some(c) => text.push(c),
            None => {}
        }
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The character that the four digits at the start of `text`, and an escaped low surrogate behind a high one, stand for;
/// and the text behind them.
fn code_point(text: &str) -> (char, &str) {
    let (unit, rest) = unit(text);
    if let Some(c) = char::from_u32(unit) {
        return (c, rest);
    }
    if let Some(after) = rest.strip_prefix("\\u").filter(|_| unit < 0xdc00) {
        let (low, after) = self::unit(after);
        if (0xdc00..0xe000).contains(&low) {
            let c = char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
            return (c.unwrap_or(char::REPLACEMENT_CHARACTER), after);
        }
    }
    (char::REPLACEMENT_CHARACTER, rest)
}

/// The UTF-16 code unit written by the four digits at the start of `text`, and the text behind them.
fn unit(text: &str) -> (u32, &str) {
    let (digits, rest) = text.split_at_checked(4).unwrap_or((text, ""));
    (u32::from_str_radix(digits, 16).unwrap_or(0xfffd), rest)
}

/// `text` as a JSON string, quotes included.
#[must_use]
pub fn encode_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            c if c < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}
