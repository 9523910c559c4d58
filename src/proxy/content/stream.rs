//! A body on its way into the store: readers follow while it grows; the whole is checked and published.

use std::io::ErrorKind;
use std::sync::Arc;

use http::StatusCode;
use md5::Digest as _;

use super::coding::Decoder;
use super::lead::{ContentState, Head, Landed, Setback, Spare, Streaming, head_of};
use super::{FileFault, Want};
use crate::cache::epoch::Epoch;
use crate::flight::Lead;
use crate::nuget::nupkg::PackageFault;
use crate::proxy::Proxy;
use crate::proxy::body::next_chunk;
use crate::proxy::checks::validator_of;
use crate::proxy::document::FlightKey;
use crate::proxy::failure::Failure;
use crate::proxy::outcome::Outcome;
use crate::store::{BodyWriter, Draft, StoreFault};
use crate::upstream::Fetched;

impl Proxy {
    /// Writes a body into the store while readers follow, checks it, and publishes it.
    pub(super) async fn stream(
        &self,
        want: &Want,
        epoch: Epoch,
        fetched: Fetched,
        lead: &Lead<FlightKey, ContentState>,
    ) -> Result<Landed, Setback> {
        let head = Arc::new(head_of(&fetched));
        let begun = self.store.begin(&want.ask.key, head.identity.length).await;
        let mut writer = match begun {
            Ok(writer) => writer,
            Err(fault) => {
                return Err(Setback::Store(
                    fault,
                    Spare::of(fetched, want.ask.feed.audience()),
                ));
            }
        };
        lead.update(|state| {
            *state = ContentState::Streaming(Streaming {
                asked_by: want.ask.feed.audience(),
                head: Arc::clone(&head),
                body: writer.body(),
                written: 0,
            });
        });
        let bad = |what: String| head.bad(what);
        let mut decoder = Decoder::of(&fetched.headers).map_err(bad)?;
        let (mut digest, mut body) = (md5::Md5::new(), fetched.body);
        let mut is_complete = false;
        while !is_complete {
            let plain = match next_chunk(&mut body).await {
                Some(chunk) => {
                    let chunk =
                        chunk.map_err(|error| self.upstream_failure(&want.ask.feed, &error))?;
                    digest.update(&chunk);
                    decoder.decode(chunk).map_err(bad)?
                }
                None => {
                    is_complete = true;
                    decoder.finish().map_err(bad)?
                }
            };
            if plain.is_empty() {
                continue;
            }
            writer.write(plain).await?;
            let written = writer.written();
            lead.update(|state| {
                if let ContentState::Streaming(streaming) = state {
                    streaming.written = written;
                }
            });
        }
        self.check_written(want, &head, &writer, digest.finalize().into())
            .await?;
        let now = self.clock.now();
        let stored = writer.publish(Draft {
            epoch,
            status: StatusCode::OK,
            upstream_validator: validator_of(&fetched.headers),
            headers: head.headers.clone(),
            origin: head.origin.clone(),
            fetched_at: now,
            validated_at: now,
        });
        self.store.forget_absence(&want.ask.own_key());
        want.ask.feed.troubles.note_good(&head.origin);
        Ok(Landed::Stored(stored, Outcome::Miss))
    }

    /// The verdict on a whole body.
    async fn check_written(
        &self,
        want: &Want,
        head: &Head,
        writer: &BodyWriter,
        md5: [u8; 16],
    ) -> Result<(), Setback> {
        if head.identity.md5.is_some_and(|sent| sent != md5) {
            return Err(head
                .bad("its bytes differ from its Content-MD5".into())
                .into());
        }
        let written = writer.written();
        if let Some(length) = head.identity.length
            && length != written
        {
            let what = format!("{written} bytes, expected {length}");
            return Err(head.bad(what).into());
        }
        let (checked, reader) = (want.clone(), writer.body().reader());
        let verdict = self
            .tasks
            .blocking("check", move || checked.check(reader))
            .await
            .map_err(|_| Failure::Internal("the check of a body panicked"))?;
        match verdict {
            Ok(()) => Ok(()),
            // What ends too early is the package's fault, all else the disk's.
            Err(FileFault::Package(PackageFault::Io(error)))
                if error.kind() != ErrorKind::UnexpectedEof =>
            {
                tracing::warn!(%error, "a file just written cannot be read");
                Err(StoreFault::Io.into())
            }
            Err(fault) => Err(head.bad(fault.to_string()).into()),
        }
    }
}
