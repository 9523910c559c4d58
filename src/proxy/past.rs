//! A body past a store that cannot take it: checked like a stored one, its end held back in memory.

use bytes::{Buf as _, Bytes, BytesMut};
use md5::Digest as _;

use super::body::next_chunk;
use super::content::Want;
use super::failure::reason_of;
use super::live::{HOLD_BACK_BYTES, Identity};
use super::outcome::Reason;
use crate::nuget::nupkg::{self, TailVerdict};
use crate::upstream::ResponseBody;

/// The bytes of a package's end that its central directory is looked for in, where no file has the whole: directories
/// beyond it are rare, and the check is then left out.
const TAIL_BYTES: usize = 1024 * 1024;

/// A stream past the store: checked like a stored one, with its end held back in memory.
#[derive(Debug)]
pub(super) struct Past {
    body: ResponseBody,
    pub(super) identity: Identity,
    want: Want,
    digest: md5::Md5,
    /// The last bytes, at least [`TAIL_BYTES`] of them once so many came.
    tail: Vec<u8>,
    /// Received and not given: at most [`HOLD_BACK_BYTES`] and a chunk.
    held: BytesMut,
    /// Offset of the first held byte.
    held_at: u64,
    received: u64,
    is_checked: bool,
}

impl Past {
    pub(super) fn new(body: ResponseBody, identity: Identity, want: Want) -> Self {
        Self {
            body,
            identity,
            want,
            digest: md5::Md5::new(),
            tail: Vec::new(),
            held: BytesMut::new(),
            held_at: 0,
            received: 0,
            is_checked: false,
        }
    }

    /// The next bytes from offset `at` on, up to `end`.
    pub(super) async fn next(
        &mut self,
        at: u64,
        end: Option<u64>,
    ) -> Result<Option<Bytes>, Reason> {
        loop {
            if let Some(bytes) = self.ready(at, end) {
                return Ok(Some(bytes));
            }
            if self.is_checked {
                return Ok(None);
            }
            match next_chunk(&mut self.body).await {
                Some(Ok(chunk)) => self.take(&chunk),
                Some(Err(error)) => return Err(reason_of(&error)),
                None => {
                    self.check().map_err(|problem| {
                        tracing::warn!(problem, "a body past the store failed its checks");
                        Reason::BadBody
                    })?;
                    self.is_checked = true;
                }
            }
        }
    }

    /// Held bytes that may be given. What lies before `at` was given before, by the store.
    fn ready(&mut self, at: u64, end: Option<u64>) -> Option<Bytes> {
        let free = if self.is_checked { 0 } else { HOLD_BACK_BYTES };
        let upto = (self.held_at + self.held.len() as u64).saturating_sub(free);
        let upto = end.map_or(upto, |end| upto.min(end));
        if self.held_at < at {
            let skip = (at - self.held_at).min(self.held.len() as u64);
            self.held
                .advance(usize::try_from(skip).unwrap_or(self.held.len()));
            self.held_at += skip;
        }
        let count = usize::try_from(upto.checked_sub(at)?)
            .ok()
            .filter(|count| *count > 0)?;
        let bytes = self.held.split_to(count.min(self.held.len())).freeze();
        self.held_at += bytes.len() as u64;
        Some(bytes).filter(|bytes| !bytes.is_empty())
    }

    fn take(&mut self, chunk: &[u8]) {
        self.received += chunk.len() as u64;
        self.digest.update(chunk);
        self.held.extend_from_slice(chunk);
        self.tail.extend_from_slice(chunk);
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }

    fn check(&self) -> Result<(), String> {
        if self
            .identity
            .length
            .is_some_and(|length| length != self.received)
        {
            return Err(format!(
                "{} bytes, expected {:?}",
                self.received, self.identity.length
            ));
        }
        let md5: [u8; 16] = self.digest.clone().finalize().into();
        if self.identity.md5.is_some_and(|sent| sent != md5) {
            return Err("its bytes differ from its Content-MD5".into());
        }
        let is_whole = self.received == self.tail.len() as u64;
        if is_whole {
            return self
                .want
                .check(std::io::Cursor::new(&self.tail))
                .map_err(|fault| fault.to_string());
        }
        if self.want.is_package() {
            match nupkg::check_tail(&self.tail, self.received) {
                Ok(TailVerdict::Good | TailVerdict::Unknown) => {}
                Err(fault) => return Err(fault.to_string()),
            }
        }
        Ok(())
    }
}
