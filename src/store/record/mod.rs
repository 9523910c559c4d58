//! The versioned bytes of rows and trailers.
//!
//! A record is a version byte and a list of fields: tag (1 byte), length (4 bytes, little-endian), value. A reader
//! skips fields that it does not know, and a record of a later version reads as none, so that neither an upgrade nor
//! a downgrade fails. It refuses to know where a record is kept.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::marks::Mark;
use crate::cache::entry::{Absence, Entry, UpstreamValidator};
use crate::cache::epoch::Epoch;
use crate::cache::key::Key;

/// The version that this release writes. A field may be added without a new one; a changed meaning needs one.
pub(super) const VERSION: u8 = 1;

/// Field tags. A number, once used, keeps its meaning for ever.
mod tag {
    pub(super) const KEY: u8 = 1;
    pub(super) const SEQUENCE: u8 = 2;
    pub(super) const EPOCH: u8 = 3;
    pub(super) const STATUS: u8 = 4;
    /// Length of the name (2 bytes), name, value; once for each header line.
    pub(super) const HEADER: u8 = 5;
    pub(super) const UPSTREAM_ETAG: u8 = 6;
    pub(super) const UPSTREAM_LAST_MODIFIED: u8 = 7;
    pub(super) const ORIGIN: u8 = 8;
    pub(super) const FETCHED_AT: u8 = 9;
    pub(super) const VALIDATED_AT: u8 = 10;
    pub(super) const BODY_BYTES: u8 = 11;
    pub(super) const SHA512: u8 = 12;
    pub(super) const BODY_CRC: u8 = 13;
    pub(super) const FIRST_AT: u8 = 14;
    pub(super) const LAST_AT: u8 = 15;
    pub(super) const FEED: u8 = 16;
    pub(super) const ID: u8 = 17;
    pub(super) const PACKAGE_VERSION: u8 = 18;
    pub(super) const PUBLISHED_AT: u8 = 19;
    pub(super) const PROVEN_AT: u8 = 20;
    pub(super) const DETAIL: u8 = 21;
}

/// A stored response as its trailer holds it, the body's checksum included.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trailer {
    pub(super) entry: Entry,
    /// crc32c of the body.
    pub(super) body_crc: u32,
}

/// What a row tells beyond the trailer of the body it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) sequence: u64,
    pub(super) epoch: Epoch,
    pub(super) validated_at: SystemTime,
    /// Absent, like the key's text, in a row that had to be kept small: the trailer's hold then.
    pub(super) headers: Option<HeaderMap>,
    pub(super) key_text: Option<String>,
}

/// The epoch of a feed, an id or a version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct GateRow {
    pub(super) feed: String,
    pub(super) id: Option<String>,
    pub(super) version: Option<String>,
    pub(super) epoch: Epoch,
    pub(super) published_at: Option<SystemTime>,
}

#[derive(Debug)]
struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Self {
        Self(vec![VERSION])
    }

    fn field(&mut self, tag: u8, value: &[u8]) {
        // No value of ours comes near 4 GiB; one that did would be cut and read as a bad record.
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.0.push(tag);
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(value);
    }

    fn number(&mut self, tag: u8, value: u64) {
        self.field(tag, &value.to_le_bytes());
    }

    fn time(&mut self, tag: u8, value: SystemTime) {
        self.number(tag, micros(value));
    }

    fn headers(&mut self, headers: &HeaderMap) {
        for (name, value) in headers {
            let length = u16::try_from(name.as_str().len()).unwrap_or(u16::MAX);
            let mut line = length.to_le_bytes().to_vec();
            line.extend_from_slice(name.as_str().as_bytes());
            line.extend_from_slice(value.as_bytes());
            self.field(tag::HEADER, &line);
        }
    }
}

/// The fields of a record, or `None` if it is cut short or of a later version.
fn fields(bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let (version, mut rest) = bytes.split_first()?;
    if *version > VERSION {
        return None;
    }
    let mut fields = Vec::with_capacity(16);
    while let Some((tag, after)) = rest.split_first() {
        let (length, after) = after.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (value, after) = after.split_at_checked(length)?;
        fields.push((*tag, value));
        rest = after;
    }
    Some(fields)
}

#[derive(Debug)]
struct Fields<'a>(Vec<(u8, &'a [u8])>);

impl<'a> Fields<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        fields(bytes).map(Self)
    }

    fn bytes(&self, tag: u8) -> Option<&'a [u8]> {
        self.0
            .iter()
            .find(|(found, _)| *found == tag)
            .map(|(_, value)| *value)
    }

    fn text(&self, tag: u8) -> Option<&'a str> {
        std::str::from_utf8(self.bytes(tag)?).ok()
    }

    fn number(&self, tag: u8) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(tag)?.try_into().ok()?))
    }

    fn time(&self, tag: u8) -> Option<SystemTime> {
        self.number(tag).map(from_micros)
    }

    fn status(&self) -> Option<StatusCode> {
        StatusCode::from_u16(u16::try_from(self.number(tag::STATUS)?).ok()?).ok()
    }

    fn value(&self, tag: u8) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.bytes(tag)?).ok()
    }

    fn headers(&self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (_, line) in self.0.iter().filter(|(found, _)| *found == tag::HEADER) {
            let (length, rest) = line.split_first_chunk::<2>()?;
            let (name, value) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
            // A map has room for some ten thousand names, and panics beyond it if it is not asked first.
            let name = HeaderName::from_bytes(name).ok()?;
            let value = HeaderValue::from_bytes(value).ok()?;
            headers.try_append(name, value).ok()?;
        }
        Some(headers)
    }
}

impl Trailer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let entry = &self.entry;
        let mut out = Writer::new();
        out.field(tag::KEY, entry.key.text().as_bytes());
        out.number(tag::SEQUENCE, entry.sequence);
        out.number(tag::EPOCH, entry.epoch.0);
        out.number(tag::STATUS, entry.status.as_u16().into());
        let UpstreamValidator {
            etag,
            last_modified,
        } = &entry.upstream_validator;
        if let Some(etag) = etag {
            out.field(tag::UPSTREAM_ETAG, etag.as_bytes());
        }
        if let Some(last_modified) = last_modified {
            out.field(tag::UPSTREAM_LAST_MODIFIED, last_modified.as_bytes());
        }
        out.field(tag::ORIGIN, entry.origin.as_bytes());
        out.time(tag::FETCHED_AT, entry.fetched_at);
        out.time(tag::VALIDATED_AT, entry.validated_at);
        out.number(tag::BODY_BYTES, entry.body_bytes);
        out.field(tag::SHA512, &entry.sha512);
        out.number(tag::BODY_CRC, self.body_crc.into());
        out.headers(&entry.headers);
        out.0
    }

    /// The record that `bytes` hold, or `None` if they hold none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let fields = Fields::read(bytes)?;
        let entry = Entry {
            key: Key::parse(fields.text(tag::KEY)?)?,
            sequence: fields.number(tag::SEQUENCE)?,
            epoch: Epoch(fields.number(tag::EPOCH)?),
            status: fields.status()?,
            headers: fields.headers()?,
            upstream_validator: UpstreamValidator {
                etag: fields.value(tag::UPSTREAM_ETAG),
                last_modified: fields.value(tag::UPSTREAM_LAST_MODIFIED),
            },
            origin: fields.text(tag::ORIGIN)?.to_owned(),
            fetched_at: fields.time(tag::FETCHED_AT)?,
            validated_at: fields.time(tag::VALIDATED_AT)?,
            body_bytes: fields.number(tag::BODY_BYTES)?,
            sha512: fields.bytes(tag::SHA512)?.try_into().ok()?,
        };
        let body_crc = u32::try_from(fields.number(tag::BODY_CRC)?).ok()?;
        Some(Self { entry, body_crc })
    }
}

impl Row {
    /// The row of `entry`, without what is only in the trailer; without key text and headers too if it would be longer
    /// than `max_bytes`.
    pub(super) fn encode(entry: &Entry, max_bytes: usize) -> Vec<u8> {
        let mut out = Writer::new();
        out.number(tag::SEQUENCE, entry.sequence);
        out.number(tag::EPOCH, entry.epoch.0);
        out.time(tag::VALIDATED_AT, entry.validated_at);
        let small = out.0.len();
        out.field(tag::KEY, entry.key.text().as_bytes());
        out.headers(&entry.headers);
        if out.0.len() > max_bytes {
            out.0.truncate(small);
        }
        out.0
    }

    /// The row that `bytes` hold, or `None` if they hold none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let fields = Fields::read(bytes)?;
        let key_text = fields.text(tag::KEY).map(str::to_owned);
        Some(Self {
            sequence: fields.number(tag::SEQUENCE)?,
            epoch: Epoch(fields.number(tag::EPOCH)?),
            validated_at: fields.time(tag::VALIDATED_AT)?,
            headers: match key_text {
                Some(_) => Some(fields.headers()?),
                None => None,
            },
            key_text,
        })
    }
}

/// The row of an absence.
pub(super) fn encode_absence(key: &Key, absence: &Absence) -> Vec<u8> {
    let mut out = Writer::new();
    out.field(tag::KEY, key.text().as_bytes());
    out.number(tag::STATUS, absence.status.as_u16().into());
    out.number(tag::EPOCH, absence.epoch.0);
    out.time(tag::FIRST_AT, absence.first_at);
    out.time(tag::LAST_AT, absence.last_at);
    out.0
}

/// The absence that a row holds, and of what.
pub(super) fn decode_absence(bytes: &[u8]) -> Option<(Key, Absence)> {
    let fields = Fields::read(bytes)?;
    let absence = Absence {
        status: fields.status()?,
        epoch: Epoch(fields.number(tag::EPOCH)?),
        first_at: fields.time(tag::FIRST_AT)?,
        last_at: fields.time(tag::LAST_AT)?,
    };
    Some((Key::parse(fields.text(tag::KEY)?)?, absence))
}

/// The row of a mark.
pub(super) fn encode_mark(mark: &Mark) -> Vec<u8> {
    let mut out = Writer::new();
    out.field(tag::KEY, mark.key.text().as_bytes());
    out.time(tag::FIRST_AT, mark.since);
    if !mark.detail.is_empty() {
        out.field(tag::DETAIL, mark.detail.as_bytes());
    }
    out.0
}

/// The mark that a row holds.
pub(super) fn decode_mark(bytes: &[u8]) -> Option<Mark> {
    let fields = Fields::read(bytes)?;
    Some(Mark {
        since: fields.time(tag::FIRST_AT)?,
        key: Key::parse(fields.text(tag::KEY)?)?,
        detail: fields.text(tag::DETAIL).unwrap_or_default().to_owned(),
    })
}

/// The row of a proof, whose key is the row's name.
pub(super) fn encode_proof(proven_at: SystemTime) -> Vec<u8> {
    let mut out = Writer::new();
    out.time(tag::PROVEN_AT, proven_at);
    out.0
}

/// When what a row's name says was proven.
pub(super) fn decode_proof(bytes: &[u8]) -> Option<SystemTime> {
    Fields::read(bytes)?.time(tag::PROVEN_AT)
}

impl GateRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.field(tag::FEED, self.feed.as_bytes());
        if let Some(id) = &self.id {
            out.field(tag::ID, id.as_bytes());
        }
        if let Some(version) = &self.version {
            out.field(tag::PACKAGE_VERSION, version.as_bytes());
        }
        out.number(tag::EPOCH, self.epoch.0);
        if let Some(published_at) = self.published_at {
            out.time(tag::PUBLISHED_AT, published_at);
        }
        out.0
    }

    /// The row that `bytes` hold, or `None` if they hold none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let fields = Fields::read(bytes)?;
        Some(Self {
            feed: fields.text(tag::FEED)?.to_owned(),
            id: fields.text(tag::ID).map(str::to_owned),
            version: fields.text(tag::PACKAGE_VERSION).map(str::to_owned),
            epoch: Epoch(fields.number(tag::EPOCH)?),
            published_at: fields.time(tag::PUBLISHED_AT),
        })
    }
}

/// Microseconds since 1970, zero for an earlier time.
pub(super) fn micros(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The time that is this many microseconds after 1970; 1970 itself where that is beyond what the system can tell.
pub(super) fn from_micros(micros: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_micros(micros))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
