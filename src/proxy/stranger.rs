//! Requests without a credential while the upstream cannot be asked.
//!
//! The real client sends its credential only to who demands one, and asks without it first, for every address anew
//! (protocol facts 5.1.1, 5.1.6). While the upstream demands it, that is handed on; while it is silent, its clients would
//! never present what entitles them to a copy. So the demand is ours then: Basic, which is all that the client answers
//! and a proxy can pass (protocol fact 5.1.2).

use std::pin::Pin;
use std::sync::Arc;

use http::{Response, request};

use super::Proxy;
use super::body::Body;
use super::failure::Failure;
use super::feed::Feed;
use super::proof::{Presents, scope};
use super::respond::Facts;
use super::route::Resource;
use super::told::{Told, class_of, id_of};
use super::view::Query;
use crate::cache::decision::Reach;
use crate::cache::proof::{ProofKey, Standing};
use crate::upstream::UpstreamError;

impl Proxy {
    /// Answers a read. One without a credential, and without a proof that none is needed, becomes a demand for one once
    /// the upstream turns out not to answer; it is not waited for longer than with a copy.
    pub(super) async fn read_or_demand(
        &self,
        query: &Query<'_>,
        resource: &Resource,
        parts: &request::Parts,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Result<Response<Body>, Failure> {
        let unproven = self.unproven(query.feed, resource).await;
        // Without a name: with it, the types of those who wait for this grow deeper than the compiler follows.
        let answer = self.answer_read(query, resource, parts, facts, told);
        let mut answer: Pin<Box<dyn Future<Output = Result<_, Failure>> + Send + '_>> =
            Box::pin(answer);
        match unproven {
            None => return answer.await,
            // Who has no right to a copy is not told whether there is one.
            Some(Presents::Credential) => return answer.await.map_err(Failure::without_proof),
            Some(Presents::Nothing) => {}
        }
        let upstream = query.feed.access.upstream();
        let why = loop {
            match tokio::time::timeout(self.settings.stale_after, &mut answer).await {
                Ok(Err(failure)) if failure.is_outage() => break failure,
                Ok(Err(Failure::Unproven(failure))) => break *failure,
                Ok(answered) => return answered,
                Err(_) if self.reach_of(upstream, query.feed) == Reach::Live => {}
                Err(_) => {
                    let origin = upstream.clone();
                    let error = UpstreamError::HeldOut { origin, last: None };
                    break self.upstream_failure(query.feed, &error);
                }
            }
        };
        Err(Failure::CredentialWanted {
            feed: Arc::clone(&query.feed.name),
            why: Box::new(why),
        })
    }

    /// What a client presents that has no proof for a resource; `None` if it has one or needs none.
    async fn unproven(&self, feed: &Feed, resource: &Resource) -> Option<Presents> {
        let client = feed.client.as_ref()?;
        let rest = match resource {
            Resource::Catalog(rest) => rest,
            _ => "",
        };
        let scope = scope(id_of(resource), class_of(resource), rest);
        let proven_at = self
            .store
            .proof(&ProofKey::new(&client.holder, &scope))
            .await;
        let standing = feed.settings.proofs.standing(proven_at, self.clock.now());
        (standing == Standing::Unproven).then_some(client.presents)
    }
}
