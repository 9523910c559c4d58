//! Byte ranges of a request, and of an answer (RFC 9110 section 14).

/// What a `Range` header asks of a body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// `bytes=first-` or `bytes=first-last`: the offsets of the first and the last byte, if named.
    One {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte, if named.
        last: Option<u64>,
    },
    /// `bytes=-n`: the last `n` bytes.
    Suffix(u64),
    /// No range, several of them, another unit or bad syntax: the whole body (RFC 9110 section 14.2 allows a server to
    /// ignore the field).
    Whole,
}

/// Which bytes of a body of known length answer a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Satisfied {
    /// These bytes: `start..end`.
    Part {
        /// Offset of the first byte.
        start: u64,
        /// Offset behind the last byte.
        end: u64,
    },
    /// None: 416 (RFC 9110 section 15.5.17).
    Unsatisfiable,
    /// All of them.
    Whole,
}

/// Reads the value of a `Range` header.
#[must_use]
pub fn read(value: &str) -> Asked {
    let Some(spec) = value.trim().strip_prefix("bytes=") else {
        return Asked::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Asked::Whole;
    };
    if last.contains(',') {
        return Asked::Whole;
    }
    match (number(first), number(last)) {
        (Some(first), None) if last.is_empty() => Asked::One { first, last: None },
        (Some(first), Some(last)) if first <= last => Asked::One {
            first,
            last: Some(last),
        },
        (None, Some(length)) if first.is_empty() => Asked::Suffix(length),
        _ => Asked::Whole,
    }
}

fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().unwrap_or(u64::MAX))
}

impl Asked {
    /// What of a body of `length` bytes it selects.
    #[must_use]
    pub fn satisfy(&self, length: u64) -> Satisfied {
        match *self {
            Self::One { first, .. } if first >= length => Satisfied::Unsatisfiable,
            Self::One { first, last } => Satisfied::Part {
                start: first,
                end: last.map_or(length, |last| last.saturating_add(1).min(length)),
            },
            Self::Suffix(0) => Satisfied::Unsatisfiable,
            Self::Suffix(_) if length == 0 => Satisfied::Unsatisfiable,
            Self::Suffix(count) => Satisfied::Part {
                start: length.saturating_sub(count),
                end: length,
            },
            Self::Whole => Satisfied::Whole,
        }
    }
}

/// Which bytes of which whole a 206 brings, by its `Content-Range`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Part {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset behind the last byte.
    pub end: u64,
    /// Length of the whole.
    pub total: u64,
}

impl Part {
    /// Reads the value of a `Content-Range` header; `None` if it names no bytes, no total, or bytes that cannot be.
    #[must_use]
    pub fn read(value: &str) -> Option<Self> {
        let (unit, spec) = value.trim().split_once(' ')?;
        let (bytes, total) = spec.trim().split_once('/')?;
        let (first, last) = bytes.split_once('-')?;
        let (first, last, total) = (number(first)?, number(last)?, number(total)?);
        let is_part = unit.eq_ignore_ascii_case("bytes") && first <= last && last < total;
        is_part.then(|| Self {
            start: first,
            end: last + 1,
            total,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_names_its_bytes_and_the_whole() {
        let part = |start, end, total| Some(Part { start, end, total });
        for (value, expected) in [
            ("bytes 0-0/1", part(0, 1, 1)),
            ("bytes 5-9/10", part(5, 10, 10)),
            (" Bytes  5-7/10 ", part(5, 8, 10)),
            ("bytes 5-9/*", None),
            ("bytes */10", None),
            ("bytes 5-4/10", None),
            ("bytes 5-10/10", None),
            ("bytes 5-9", None),
            ("bytes=5-9/10", None),
            ("items 5-9/10", None),
            ("bytes -9/10", None),
            ("bytes 5-99999999999999999999999/10", None),
            ("", None),
        ] {
            assert_eq!(Part::read(value), expected, "{value:?}");
        }
    }

    #[track_caller]
    fn check(value: &str, length: u64, expected: Satisfied) {
        assert_eq!(
            read(value).satisfy(length),
            expected,
            "{value:?} of {length}"
        );
    }

    #[test]
    fn selects_as_rfc_9110_says() {
        let part = |start, end| Satisfied::Part { start, end };
        check("bytes=0-0", 10, part(0, 1));
        check("bytes=3-", 10, part(3, 10));
        check("bytes=3-99", 10, part(3, 10));
        check("bytes=-4", 10, part(6, 10));
        check("bytes=-40", 10, part(0, 10));
        check("bytes=10-", 10, Satisfied::Unsatisfiable);
        check("bytes=-0", 10, Satisfied::Unsatisfiable);
        check("bytes=0-", 0, Satisfied::Unsatisfiable);
        check("bytes=-1", 0, Satisfied::Unsatisfiable);
        check("bytes=0-99999999999999999999999", 10, part(0, 10));
        check(
            "bytes=99999999999999999999999-",
            10,
            Satisfied::Unsatisfiable,
        );
        for whole in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=4-3",
            "bytes=0-1,3-4",
            "items=0-1",
            "bytes=a-b",
            "bytes=+1-2",
        ] {
            check(whole, 10, Satisfied::Whole);
        }
    }
}
