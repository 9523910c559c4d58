//! A client's upload, seen while it passes, or read ahead where its package must be known before a byte goes on.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::nuget::id::PackageId;
use crate::nuget::push::PushPeek;
use crate::nuget::version::Version;

/// What an upload's first bytes say, shared with whoever acts on it later.
#[derive(Clone, Debug)]
pub(super) struct Peek(Arc<Mutex<PushPeek>>);

/// A client's body, seen while it passes.
pub(super) struct Peeked<B> {
    body: Pin<Box<B>>,
    /// Read ahead and not passed on yet: at most [`crate::nuget::push::WINDOW_BYTES`] and one frame.
    held: VecDeque<Frame<Bytes>>,
    peek: Peek,
}

/// Why an upload could not be read ahead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NotAhead {
    /// It broke off.
    BrokenOff,
    /// It stopped coming.
    Stalled,
}

impl Peek {
    pub(super) fn new(content_type: Option<&str>) -> Self {
        Self(Arc::new(Mutex::new(PushPeek::new(content_type))))
    }

    /// The id of the package, if it was among what has passed.
    pub(super) fn id(&self) -> Option<PackageId> {
        self.package().map(|(id, _)| id)
    }

    fn package(&self) -> Option<(PackageId, Version)> {
        self.lock().identify()
    }

    fn lock(&self) -> MutexGuard<'_, PushPeek> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Body<Data = Bytes>> Peeked<B> {
    pub(super) fn new(body: B, peek: Peek) -> Self {
        Self {
            body: Box::pin(body),
            held: VecDeque::new(),
            peek,
        }
    }

    /// The package, if its manifest was among what was read.
    pub(super) fn package(&self) -> Option<(PackageId, Version)> {
        self.peek.package()
    }

    /// Reads the part that is looked at, and holds it.
    pub(super) async fn read_ahead(&mut self, idle_timeout: Duration) -> Result<(), NotAhead> {
        while !self.peek.lock().is_full() {
            let read = poll_fn(|context| self.read(context));
            match tokio::time::timeout(idle_timeout, read).await {
                Err(_) => return Err(NotAhead::Stalled),
                Ok(None) => return Ok(()),
                Ok(Some(Err(_))) => return Err(NotAhead::BrokenOff),
                Ok(Some(Ok(frame))) => self.held.push_back(frame),
            }
        }
        Ok(())
    }

    fn read(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(self.body.as_mut().poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            let mut peek = self.peek.lock();
            if !peek.is_full() {
                peek.feed(bytes);
            }
        }
        Poll::Ready(frame)
    }

    fn held_bytes(&self) -> u64 {
        let bytes = |frame: &Frame<Bytes>| frame.data_ref().map_or(0, |data| data.len() as u64);
        self.held.iter().map(bytes).sum()
    }
}

impl<B: Body<Data = Bytes>> Body for Peeked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.held.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => self.read(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (left, held) = (self.body.size_hint(), self.held_bytes());
        let mut hint = SizeHint::new();
        // The upper bound first: setting a lower one above it would panic.
        if let Some(upper) = left.upper() {
            hint.set_upper(upper + held);
        }
        hint.set_lower(left.lower() + held);
        hint
    }
}
