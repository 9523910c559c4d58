//! Entry point for fuzzing of what a store reads back from its files.

use std::io::{Error, ErrorKind};

use super::layout::{find_trailer, trailer_bytes};
use super::record::{
    GateRow, Row, Trailer, decode_absence, decode_mark, decode_proof, encode_absence, encode_mark,
    encode_proof,
};

/// Longest row, as the index has it.
const MAX_ROW_BYTES: usize = 4096;

/// Bytes as each kind of record, and as the end of a body's file: what is read is written and read again the same, rows
/// keep to their limit, and a trailer is found behind its body if and only if it is that body's.
pub(crate) fn record(data: &[u8]) {
    if let Some(row) = GateRow::decode(data) {
        assert_eq!(GateRow::decode(&row.encode()), Some(row));
    }
    if let Some((key, absence)) = decode_absence(data) {
        assert_eq!(
            decode_absence(&encode_absence(&key, &absence)),
            Some((key, absence))
        );
    }
    if let Some(mark) = decode_mark(data) {
        assert_eq!(decode_mark(&encode_mark(&mark)), Some(mark));
    }
    if let Some(proven_at) = decode_proof(data) {
        assert_eq!(decode_proof(&encode_proof(proven_at)), Some(proven_at));
    }
    if let Some(row) = Row::decode(data) {
        assert_eq!(row.headers.is_some(), row.key_text.is_some());
    }
    let _ = read_file(data);
    let Some(trailer) = Trailer::decode(data) else {
        return;
    };
    assert_eq!(Trailer::decode(&trailer.encode()).as_ref(), Some(&trailer));
    let entry = &trailer.entry;
    for max_bytes in [MAX_ROW_BYTES, usize::MAX] {
        let bytes = Row::encode(entry, max_bytes);
        assert!(bytes.len() <= max_bytes);
        let row = Row::decode(&bytes);
        assert!(row.is_some(), "a row that cannot be read");
        let Some(row) = row else { return };
        assert_eq!((row.sequence, row.epoch), (entry.sequence, entry.epoch));
        assert_eq!(row.validated_at, entry.validated_at);
        let whole = (
            Some(entry.key.text().to_owned()),
            Some(entry.headers.clone()),
        );
        let read = (row.key_text, row.headers);
        assert!(read == whole || max_bytes < usize::MAX && read == (None, None));
    }
    check_file(trailer);
}

/// A file of a body and its trailer, whole, with another length and with any byte of the trailer changed.
fn check_file(mut trailer: Trailer) {
    let body = vec![b'x'; trailer.entry.sha512.first().copied().unwrap_or(0).into()];
    trailer.entry.body_bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let Ok(end) = trailer_bytes(&trailer) else {
        return;
    };
    let file = [body.as_slice(), &end].concat();
    let read = read_file(&file);
    assert_eq!(read.ok(), Some(trailer));
    assert!(read_file(&[b"x", file.as_slice()].concat()).is_err());
    assert!(read_file(file.get(..file.len() - 1).unwrap_or_default()).is_err());
    for at in [
        0,
        end.len() / 2,
        end.len() - 16,
        end.len() - 12,
        end.len() - 1,
    ] {
        let mut damaged = file.clone();
        if let Some(byte) = damaged.get_mut(body.len() + at) {
            *byte ^= 0x10;
        }
        assert!(
            read_file(&damaged).is_err(),
            "damaged at {at} of the trailer"
        );
    }
}

fn read_file(bytes: &[u8]) -> Result<Trailer, Error> {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    find_trailer(length, |from, to| {
        let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
        let part = range.and_then(|(from, to)| bytes.get(from..to));
        part.map(<[u8]>::to_vec)
            .ok_or_else(|| ErrorKind::UnexpectedEof.into())
    })
}

/// Records of format 1, and a file.
#[must_use]
pub(crate) fn records() -> Vec<Vec<u8>> {
    let unhex = |text: &str| -> Vec<u8> {
        let digits: Vec<char> = text.trim().chars().collect();
        let pairs = digits.chunks(2).map(String::from_iter);
        pairs
            .filter_map(|pair| u8::from_str_radix(&pair, 16).ok())
            .collect()
    };
    let mut seeds = [
        include_str!("record/absence-v1.hex"),
        include_str!("record/gate-v1.hex"),
        include_str!("record/proof-v1.hex"),
        include_str!("record/row-v1.hex"),
        include_str!("record/trailer-v1.hex"),
    ]
    .map(unhex)
    .to_vec();
    let trailer = seeds.last().and_then(|bytes| Trailer::decode(bytes));
    let end = trailer.and_then(|trailer| trailer_bytes(&trailer).ok());
    seeds.extend(end.map(|end| [b"nine byte", end.as_slice()].concat()));
    seeds
}
