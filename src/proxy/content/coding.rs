//! Undoes a content coding that was not asked for: content is stored as the bytes it is. Refuses codings but gzip.

use std::fmt;
use std::io::Write as _;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::header::HeaderMap;

use crate::proxy::checks::Coding;

/// Undoes the coding of one body, chunk by chunk.
pub(in crate::proxy) enum Decoder {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Plain,
}

impl Decoder {
    /// The decoder that the headers call for, or what they call for in vain.
    pub(in crate::proxy) fn of(headers: &HeaderMap) -> Result<Self, String> {
        Ok(match Coding::of(headers)? {
            Coding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Coding::Plain => Self::Plain,
        })
    }

    pub(in crate::proxy) fn decode(&mut self, chunk: Bytes) -> Result<Bytes, String> {
        match self {
            Self::Plain => Ok(chunk),
            Self::Gzip(decoder) => {
                decoder
                    .write_all(&chunk)
                    .map_err(|error| format!("gzip: {error}"))?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
        }
    }

    /// What was still to come after the last chunk. A coding that is not at its end is an error.
    pub(in crate::proxy) fn finish(&mut self) -> Result<Bytes, String> {
        match self {
            Self::Plain => Ok(Bytes::new()),
            Self::Gzip(decoder) => {
                decoder
                    .try_finish()
                    .map_err(|error| format!("gzip: {error}"))?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip(_) => "Gzip",
            Self::Plain => "Plain",
        })
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(coding: &'static str, coded: &[u8], piece: usize) -> Result<Vec<u8>, String> {
        let value = http::HeaderValue::from_static(coding);
        let mut decoder = Decoder::of(&HeaderMap::from_iter([(header::CONTENT_ENCODING, value)]))?;
        let mut text = Vec::new();
        for chunk in coded.chunks(piece) {
            text.extend_from_slice(&decoder.decode(Bytes::copy_from_slice(chunk))?);
        }
        text.extend_from_slice(&decoder.finish()?);
        Ok(text)
    }

    #[test]
    fn gzip_is_undone_whatever_the_chunks() {
        let text = b"the same text again and the same text again".repeat(100);
        let coded = gzip(&text);
        for piece in [1, 7, coded.len()] {
            assert_eq!(
                decoded("GZip", &coded, piece).as_ref(),
                Ok(&text),
                "{piece}"
            );
        }
        let twice = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(decoded("x-gzip", &twice, 5), Ok(b"one two".to_vec()));
        let cases = ["gzip, aws-chunked", "aws-chunked,GZIP"].map(|named| (named, &coded));
        for (named, bytes) in [cases[0], cases[1], ("aws-chunked", &text)] {
            assert_eq!(decoded(named, bytes, 9).as_ref(), Ok(&text), "{named}");
        }
        assert_eq!(decoded("identity", &text, 9), Ok(text));
    }

    #[test]
    fn a_coding_that_is_cut_damaged_or_unknown_is_an_error() {
        let coded = gzip(b"some text that is long enough to be cut");
        for end in [5, 15, coded.len() - 8, coded.len() - 1] {
            assert!(decoded("gzip", &coded[..end], 4).is_err(), "{end}");
        }
        let mut damaged = coded.clone();
        let crc = damaged.len() - 6;
        damaged[crc] ^= 1;
        assert!(decoded("gzip", &damaged, 4).is_err());
        for named in ["br", "gzip, br", "gzip, gzip"] {
            assert!(decoded(named, &coded, 4).is_err(), "{named}");
        }
    }
}
