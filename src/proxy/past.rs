//! A body past a store that cannot take it: checked like a stored one, its end held back in memory.
//!
//! Nothing of it is kept. A line that breaks is mended as that of a stored body is, where the upstream sent a digest of the
//! whole: nothing else can tell afterwards whether the pieces belong together. Refuses to hold more than the end, but for a
//! client that learns nowhere else where the body ends.

use bytes::{Buf as _, Bytes, BytesMut};
use md5::Digest as _;

use super::Proxy;
use super::content::{Decoder, Framing, Head, Line, Resume, Want};
use super::failure::Failure;
use super::live::{HOLD_BACK_BYTES, Identity};
use super::outcome::Reason;
use super::rescue::Rescue;
use crate::nuget::nupkg::{self, TAIL_BYTES, TailVerdict};
use crate::upstream::ResponseBody;

/// A body past the store.
#[derive(Debug)]
pub(super) struct Past {
    line: Line,
    resume: Resume,
    decoder: Decoder,
    pub(super) identity: Identity,
    origin: String,
    want: Want,
    proxy: Proxy,
    digest: md5::Md5,
    /// The last bytes, at least [`TAIL_BYTES`] of them once so many came: directories beyond it are rare, and the check
    /// is then left out.
    tail: Vec<u8>,
    /// Received and not given: at most what is held back and a chunk.
    held: BytesMut,
    /// Offset of the first held byte.
    held_at: u64,
    received: u64,
    is_checked: bool,
}

/// Why a body past the store ended early.
#[derive(Debug)]
pub(super) enum PastFault {
    /// It failed its checks.
    Bad(String),
    /// It broke off.
    Broke(Failure),
    /// It is larger than may be held in memory.
    TooLarge,
}

impl PastFault {
    fn reason(&self) -> Reason {
        match self {
            Self::Bad(_) => Reason::BadBody,
            Self::Broke(failure) => failure.reason(),
            Self::TooLarge => Reason::TooLarge,
        }
    }
}

impl Past {
    pub(super) fn new(
        proxy: &Proxy,
        body: ResponseBody,
        decoder: Decoder,
        head: &Head,
        want: Want,
    ) -> Self {
        Self {
            line: Line::new(body, 0, head.identity.length),
            resume: Resume::new(proxy, &want, &head.identity, 0),
            decoder,
            identity: head.identity.clone(),
            origin: head.origin.clone(),
            proxy: proxy.clone(),
            want,
            digest: md5::Md5::new(),
            tail: Vec::new(),
            held: BytesMut::new(),
            held_at: 0,
            received: 0,
            is_checked: false,
        }
    }

    /// The rest of a body of which others give the first `at` bytes, whose digest this is.
    pub(super) fn resumed(
        rescue: &Rescue,
        line: Line,
        resume: Resume,
        digest: md5::Md5,
        at: u64,
    ) -> Self {
        let (proxy, want) = (rescue.proxy.clone(), rescue.want.clone());
        Self {
            line,
            resume,
            decoder: Decoder::Plain,
            identity: rescue.identity.clone(),
            origin: proxy.origin_of(&want.ask).host().to_owned(),
            proxy,
            want,
            digest,
            tail: Vec::new(),
            held: BytesMut::new(),
            held_at: at,
            received: at,
            is_checked: false,
        }
    }

    /// How long it is, as far as that is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.identity
            .length
            .or_else(|| self.is_checked.then_some(self.received))
    }

    /// Reads on until a client can be told a status: a body that fits in what is held back has its verdict then, and
    /// one that a client sees the end of by its length alone has a length.
    ///
    /// # Errors
    /// [`PastFault`] if it is bad, breaks off, or must be held and is larger than `max_bytes`.
    pub(super) async fn prepare(
        &mut self,
        framing: Framing,
        max_bytes: u64,
    ) -> Result<(), PastFault> {
        loop {
            let is_ready = match self.identity.length {
                Some(length) => length > HOLD_BACK_BYTES,
                None => framing == Framing::Any && self.received > HOLD_BACK_BYTES,
            };
            if is_ready || self.is_checked {
                return Ok(());
            }
            if self.received > max_bytes {
                return Err(PastFault::TooLarge);
            }
            self.step().await?;
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
            self.step().await.map_err(|fault| {
                tracing::warn!(?fault, "a body past the store ended early");
                fault.reason()
            })?;
        }
    }

    /// Takes in the next chunk, or checks the whole after the last one.
    async fn step(&mut self) -> Result<(), PastFault> {
        match self.line.next().await {
            Some(Ok(chunk)) => {
                self.digest.update(&chunk);
                let plain = self.decoder.decode(chunk).map_err(PastFault::Bad)?;
                self.take(&plain);
            }
            Some(Err(broke)) => {
                let failure = broke.failure(&self.proxy, &self.want, &self.origin);
                let can_go_on = self.identity.can_be_continued() && self.identity.md5.is_some();
                if !broke.is_mendable() || !can_go_on {
                    return Err(PastFault::Broke(failure));
                }
                let rest = self.resume.rest(self.received, &self.digest, failure);
                let rest = Box::pin(rest).await;
                self.line = rest.map_err(|stop| PastFault::Broke(stop.into_failure()))?;
            }
            None => {
                let last = self.decoder.finish().map_err(PastFault::Bad)?;
                self.take(&last);
                self.check().map_err(PastFault::Bad)?;
                self.is_checked = true;
            }
        }
        Ok(())
    }

    /// Held bytes that may be given. What lies before `at` was given before, by the store; what lies behind `end`
    /// nobody wants.
    fn ready(&mut self, at: u64, end: Option<u64>) -> Option<Bytes> {
        let held_end = self.held_at + self.held.len() as u64;
        if self.held_at < at {
            self.drop_first(at - self.held_at);
        }
        let last = end.or(self.identity.length);
        let free = match last {
            _ if self.is_checked => held_end,
            Some(last) => held_end.min(last.saturating_sub(HOLD_BACK_BYTES)),
            None => held_end.saturating_sub(HOLD_BACK_BYTES),
        };
        let upto = end.map_or(free, |end| free.min(end));
        if let Some(end) = end {
            let wanted = end.saturating_sub(self.held_at);
            self.held
                .truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        }
        let count = usize::try_from(upto.checked_sub(at)?).ok()?;
        if self.held_at != at || count == 0 || self.held.is_empty() {
            return None;
        }
        let bytes = self.held.split_to(count.min(self.held.len())).freeze();
        self.held_at += bytes.len() as u64;
        Some(bytes)
    }

    fn drop_first(&mut self, bytes: u64) {
        let count = usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .min(self.held.len());
        self.held.advance(count);
        self.held_at += count as u64;
    }

    fn take(&mut self, plain: &[u8]) {
        // Behind a gap, left by what nobody wants, nothing is held any more.
        if self.held_at + self.held.len() as u64 == self.received {
            self.held.extend_from_slice(plain);
        }
        self.received += plain.len() as u64;
        self.tail.extend_from_slice(plain);
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }

    fn check(&self) -> Result<(), String> {
        if let Some(length) = self.identity.length
            && length != self.received
        {
            return Err(format!("{} bytes, expected {length}", self.received));
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
        // Of the rest of a body there may be less; its digest has told then.
        if self.want.is_package() && self.tail.len() >= TAIL_BYTES {
            match nupkg::check_tail(&self.tail, self.received) {
                Ok(TailVerdict::Good | TailVerdict::Unknown) => {}
                Err(fault) => return Err(fault.to_string()),
            }
        }
        Ok(())
    }
}
