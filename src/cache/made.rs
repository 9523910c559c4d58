//! When a document was made: whether one that comes is older than the one that is stored.
//!
//! Edges of a content delivery network lag behind one another, so an upstream may answer with what it had replaced
//! before. Refuses to guess: what does not say when it was made is never called older.

use std::time::{Duration, SystemTime};

use http::HeaderValue;

/// How long older answers are not believed: no edge lags that long, so what is still sent then is what there is.
pub const OLDER_REFUSED_FOR: Duration = Duration::from_secs(60 * 60);

/// When something was made, by its own word.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Made {
    /// The time that the document itself tells.
    pub committed_at: Option<SystemTime>,
    /// `Last-Modified` of the answer that brought it.
    pub modified_at: Option<SystemTime>,
}

impl Made {
    /// Of a document that tells `committed_at` and came with this `Last-Modified` (RFC 9110 section 8.8.2).
    #[must_use]
    pub fn of(committed_at: Option<SystemTime>, last_modified: Option<&HeaderValue>) -> Self {
        let text = last_modified.and_then(|value| value.to_str().ok());
        Self {
            committed_at,
            modified_at: text.and_then(|text| httpdate::parse_http_date(text).ok()),
        }
    }

    /// Whether it was made before `other` for certain: by what both documents tell, else by both answers.
    #[must_use]
    pub fn is_before(&self, other: &Self) -> bool {
        let times = self
            .committed_at
            .zip(other.committed_at)
            .or_else(|| self.modified_at.zip(other.modified_at));
        times.is_some_and(|(own, other)| own < other)
    }
}

#[cfg(test)]
mod tests {
    //! Both tell a time, one does, none does; equal times; values that are no dates (RFC 9110 section 5.6.7).

    use super::*;

    fn made(committed: Option<u64>, modified: Option<&'static str>) -> Made {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let modified = modified.map(HeaderValue::from_static);
        Made::of(committed.map(at), modified.as_ref())
    }

    const EARLY: Option<&str> = Some("Wed, 04 Nov 2026 10:00:00 GMT");
    const LATE: Option<&str> = Some("Wed, 04 Nov 2026 10:00:01 GMT");

    #[track_caller]
    fn check(new: Made, stored: Made, expected: bool) {
        assert_eq!(new.is_before(&stored), expected, "{new:?} {stored:?}");
    }

    #[test]
    fn the_documents_own_time_decides_where_both_have_one() {
        check(made(Some(1), None), made(Some(2), None), true);
        check(made(Some(2), None), made(Some(2), None), false);
        check(made(Some(3), None), made(Some(2), None), false);
        check(made(Some(2), EARLY), made(Some(2), LATE), false);
        check(made(Some(3), EARLY), made(Some(2), LATE), false);
        check(made(Some(1), LATE), made(Some(2), EARLY), true);
    }

    #[test]
    fn else_the_answers_time_and_nothing_else() {
        check(made(None, EARLY), made(None, LATE), true);
        check(made(None, LATE), made(None, LATE), false);
        check(made(None, LATE), made(None, EARLY), false);
        check(made(Some(1), EARLY), made(None, LATE), true);
        check(made(None, EARLY), made(Some(9), LATE), true);
        check(made(None, None), made(None, LATE), false);
        check(made(None, EARLY), made(None, None), false);
        check(made(Some(1), None), made(None, LATE), false);
        check(made(None, Some("yesterday")), made(None, LATE), false);
    }
}
