//! Undoes a content coding that was not asked for. Refuses codings other than gzip.

use std::io::Write as _;

use bytes::Bytes;
use http::header::{self, HeaderMap};

/// Undoes a coding that was not asked for: content is stored as the bytes it is.
pub(in crate::proxy) enum Decoder {
    Gzip(Box<flate2::write::MultiGzDecoder<Vec<u8>>>),
    Plain,
}

impl Decoder {
    pub(in crate::proxy) fn of(headers: &HeaderMap) -> Result<Self, String> {
        match headers
            .get(header::CONTENT_ENCODING)
            .map(|value| value.as_bytes())
        {
            None | Some(b"" | b"identity") => Ok(Self::Plain),
            Some(b"gzip") => Ok(Self::Gzip(Box::new(flate2::write::MultiGzDecoder::new(
                Vec::new(),
            )))),
            Some(other) => Err(format!(
                "content coding {:?}, expected none",
                String::from_utf8_lossy(other)
            )),
        }
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
}
