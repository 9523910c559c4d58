//! Records round-trip, survive fields of later releases, and version 1 is read from its fixture bytes for ever.

use super::*;
use crate::cache::key::Parts;

fn entry() -> Entry {
    let mut headers = HeaderMap::new();
    headers.append("content-type", HeaderValue::from_static("application/zip"));
    headers.append("x-twice", HeaderValue::from_static("1"));
    headers.append("x-twice", HeaderValue::from_bytes(b"\xff").unwrap());
    let mut sha512 = [0; 64];
    sha512[..2].copy_from_slice(&[0xab, 0xcd]);
    Entry {
        key: Key::new(&Parts {
            feed: "nuget",
            id: Some("serilog"),
            class: "package",
            rest: "3.1.1",
            ..Parts::default()
        }),
        sequence: 7,
        epoch: Epoch(5),
        status: StatusCode::OK,
        headers,
        upstream_validator: UpstreamValidator {
            etag: Some(HeaderValue::from_static("0x8DC")),
            last_modified: None,
        },
        origin: "api.nuget.org".to_owned(),
        fetched_at: from_micros(1_000),
        validated_at: from_micros(2_000),
        body_bytes: 9,
        sha512,
    }
}

fn trailer() -> Trailer {
    Trailer {
        entry: entry(),
        body_crc: 0xdead_beef,
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|digit| !digit.is_whitespace()).collect();
    let pairs = digits.chunks(2).map(String::from_iter);
    pairs
        .map(|pair| u8::from_str_radix(&pair, 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What release 0.1 wrote.
const TRAILER_V1: &str = include_str!("trailer-v1.hex");
const ROW_V1: &str = include_str!("row-v1.hex");
const ABSENCE_V1: &str = include_str!("absence-v1.hex");
const GATE_V1: &str = include_str!("gate-v1.hex");
const PROOF_V1: &str = include_str!("proof-v1.hex");

fn absence() -> Absence {
    Absence {
        status: StatusCode::GONE,
        epoch: Epoch(3),
        first_at: from_micros(1),
        last_at: from_micros(2),
    }
}

fn gate() -> GateRow {
    GateRow {
        feed: "nuget".to_owned(),
        id: Some("serilog".to_owned()),
        version: None,
        epoch: Epoch(6),
        published_at: Some(from_micros(4)),
    }
}

fn row() -> Row {
    let entry = entry();
    Row {
        sequence: entry.sequence,
        epoch: entry.epoch,
        validated_at: entry.validated_at,
        key_text: Some(entry.key.text().to_owned()),
        headers: Some(entry.headers),
    }
}

#[test]
fn version_1_is_read() {
    assert_eq!(Trailer::decode(&unhex(TRAILER_V1)), Some(trailer()));
    assert_eq!(Row::decode(&unhex(ROW_V1)), Some(row()));
    let (key, found) = decode_absence(&unhex(ABSENCE_V1)).unwrap();
    assert_eq!((key, found), (entry().key, absence()));
    assert_eq!(GateRow::decode(&unhex(GATE_V1)), Some(gate()));
    assert_eq!(decode_proof(&unhex(PROOF_V1)), Some(from_micros(8)));
}

#[test]
fn version_1_is_written() {
    assert_eq!(hex(&trailer().encode()), TRAILER_V1.trim());
    assert_eq!(hex(&Row::encode(&entry(), 4096)), ROW_V1.trim());
    let key = entry().key;
    assert_eq!(hex(&encode_absence(&key, &absence())), ABSENCE_V1.trim());
    assert_eq!(hex(&gate().encode()), GATE_V1.trim());
    assert_eq!(hex(&encode_proof(from_micros(8))), PROOF_V1.trim());
}

#[test]
fn fields_of_a_later_release_are_skipped() {
    let mut bytes = trailer().encode();
    bytes.extend_from_slice(&[200, 3, 0, 0, 0, 1, 2, 3]);
    assert_eq!(Trailer::decode(&bytes), Some(trailer()));
}

#[test]
fn a_later_version_reads_as_none() {
    let mut bytes = trailer().encode();
    bytes[0] = VERSION + 1;
    assert_eq!(Trailer::decode(&bytes), None);
}

#[test]
fn a_cut_record_reads_as_none_or_without_its_end() {
    let bytes = trailer().encode();
    for length in 0..bytes.len() {
        // The headers come last: what is cut at a field's end is a record with fewer of them.
        if let Some(read) = Trailer::decode(&bytes[..length]) {
            assert!(read.entry.headers.len() < entry().headers.len());
        }
    }
    assert_eq!(Row::decode(&[]), None);
}

#[test]
fn more_headers_than_a_map_holds_read_as_none() {
    let mut bytes = trailer().encode();
    for number in 0..40_000 {
        let name = format!("x-{number}");
        let length = u16::try_from(name.len()).unwrap().to_le_bytes();
        let value = [&length[..], name.as_bytes()].concat();
        bytes.push(tag::HEADER);
        bytes.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&value);
    }
    assert_eq!(Trailer::decode(&bytes), None);
}

#[test]
fn a_row_that_would_be_too_long_leaves_headers_to_the_trailer() {
    let mut entry = entry();
    let long = "x".repeat(5000);
    entry
        .headers
        .insert("x-long", HeaderValue::from_str(&long).unwrap());
    let bytes = Row::encode(&entry, 4096);
    assert!(bytes.len() <= 4096);
    let read = Row::decode(&bytes).unwrap();
    assert_eq!((read.headers, read.key_text), (None, None));
    assert_eq!(read.validated_at, entry.validated_at);
    entry.headers.clear();
    let read = Row::decode(&Row::encode(&entry, 4096)).unwrap();
    assert_eq!(read.headers, Some(HeaderMap::new()));
}
