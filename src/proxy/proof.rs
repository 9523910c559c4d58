//! Proofs on feeds that pass clients' credentials on: who asks, for what, and what that entitles to.
//!
//! A client is served a stored byte of an id only if the upstream lately let its own credential in for that id, or, while
//! the upstream cannot be asked, some hours ago. What proves is a checked document, a confirmation of one, or a checked
//! file. A 404 proves nothing. Refuses to let one client's proof, 404 or refusal be another's.

use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;
use http::header::{self, HeaderMap};

use tokio::time::Instant;

use super::challenge::bound_scheme;
use super::document::{Ask, Obtained};
use super::failure::Failure;
use super::feed::Feed;
use super::outcome::Reason;
use super::refusal::Refusal;
use super::route::Class;
use super::{Proxy, Snapshot};
use crate::access::credential::Presented;
use crate::cache::decision::Reach;
use crate::cache::epoch::Epoch;
use crate::cache::key::{Audience, Key};
use crate::cache::proof::{Holder, ProofKey, Standing};
use crate::nuget::id::PackageId;
use crate::upstream::{Fetched, HeardBy};

/// Characters of a holder's hash that logs show: enough to tell clients apart, too few to be looked for.
const SHORT_HASH: usize = 8;

/// A client of a feed that passes credentials on: who it is to proofs and keys.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) holder: Holder,
    pub(super) audience: Audience,
    /// Whether it has a credential at all.
    pub(super) presents: Presents,
}

/// What a client presents.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Presents {
    Credential,
    Nothing,
}

impl Client {
    /// The beginning of its hash, for logs.
    pub(super) fn short_hash(&self) -> String {
        self.holder.to_string().chars().take(SHORT_HASH).collect()
    }
}

/// What came of asking the upstream about something stored.
#[derive(Debug)]
pub(super) enum Confirmed {
    /// It failed, and the copy may be given all the same.
    Excused(Failure),
    Obtained(Obtained),
}

/// What proves that a client may see something: an answer about its id; without one, about the same kind of document,
/// and of a catalog's leaf, which is about an id that its address does not tell, about that leaf. Certificates belong to the
/// signatures that name them.
pub(super) fn scope(id: Option<&PackageId>, class: Class, rest: &str) -> String {
    match (id, class) {
        (Some(id), _) => format!("id/{}", id.as_str()),
        (None, Class::CatalogLeaf) => format!("catalog/{rest}"),
        (None, Class::Certificate | Class::RepositorySignatures) => "signatures".into(),
        (None, Class::VulnerabilityIndex | Class::VulnerabilityPage) => "vulnerabilities".into(),
        (None, _) => format!("class/{}", class.word()),
    }
}

impl Ask {
    fn proof_key(&self) -> Option<ProofKey> {
        let client = self.feed.client.as_ref()?;
        let scope = scope(self.id.as_ref(), self.class, self.key.rest());
        Some(ProofKey::new(&client.holder, &scope))
    }

    /// The name under which it is remembered that there is no such thing, or that it was waited for in vain: never
    /// shared between audiences, as a stored file is.
    pub(super) fn own_key(&self) -> Key {
        match &self.feed.client {
            Some(client) => self.key.for_audience(&client.audience),
            None => self.key.clone(),
        }
    }
}

impl Feed {
    /// Whose answers these are.
    pub(super) fn audience(&self) -> Audience {
        self.client
            .as_ref()
            .map_or(Audience::Shared, |client| client.audience.clone())
    }
}

impl Snapshot {
    /// Whether an answer in memory may be given without a question.
    pub(super) fn may_see(&self, feed: &Feed, id: Option<&PackageId>, class: Class) -> bool {
        let Some(client) = &feed.client else {
            return true;
        };
        // A leaf of the catalog is not found by its class.
        if id.is_none() && class == Class::CatalogLeaf {
            return false;
        }
        let key = ProofKey::new(&client.holder, &scope(id, class, ""));
        let proven_at = self.store.proof_at_hand(&key);
        feed.settings.proofs.standing(proven_at, self.clock.now()) == Standing::Live
    }
}

impl Proxy {
    /// The feed as this request may use it: one that passes credentials on is asked with the request's own.
    pub(super) fn as_client(
        &self,
        feed: &Arc<Feed>,
        headers: &HeaderMap,
    ) -> Result<Arc<Feed>, Refusal> {
        if !feed.settings.passes_credentials_on() {
            return Ok(Arc::clone(feed));
        }
        let mut all = headers.get_all(header::AUTHORIZATION).iter();
        let (credential, more) = (all.next(), all.next());
        if more.is_some() {
            let problem = "header authorization: found more than one, expected one".to_owned();
            return Err(Refusal::BadRequest(problem));
        }
        if let Some(scheme) = credential.and_then(bound_scheme) {
            let problem = format!(
                "header authorization: scheme {scheme} cannot pass a proxy, expected another, such as Basic"
            );
            return Err(Refusal::BadRequest(problem));
        }
        if let Some(Presented::Token(_)) = Presented::in_authorization(headers) {
            let problem = "header authorization: found a token of Sluice's own, expected a credential of the upstream's";
            return Err(Refusal::BadRequest(problem.to_owned()));
        }
        let bytes = credential.map(http::HeaderValue::as_bytes);
        let holder = self.store.holder(&feed.name, bytes);
        let client = Client {
            holder,
            audience: holder.audience(),
            presents: match credential {
                Some(_) => Presents::Credential,
                None => Presents::Nothing,
            },
        };
        Ok(Arc::new(
            feed.of_client(client, feed.access.of_client(credential)),
        ))
    }

    /// How whoever asks stands towards what is stored.
    pub(super) async fn standing(&self, ask: &Ask) -> Standing {
        let Some(key) = ask.proof_key() else {
            return Standing::Free;
        };
        let proven_at = self.store.proof(&key).await;
        ask.feed
            .settings
            .proofs
            .standing(proven_at, self.clock.now())
    }

    /// Remembers that the upstream let whoever asks in, with an answer to a question of `asked_at`. One that was asked
    /// before a refusal does not undo it.
    pub(super) fn note_proof(&self, ask: &Ask, heard_by: HeardBy, asked_at: SystemTime) {
        let (Some(key), Some(client)) = (ask.proof_key(), &ask.feed.client) else {
            return;
        };
        let refused_at = self.refused.of(&client.holder, self.clock.instant());
        let is_overtaken = refused_at.is_some_and(|refused_at| asked_at <= refused_at);
        if heard_by != HeardBy::Nobody && !is_overtaken {
            self.store.put_proof(key, asked_at);
        }
    }

    /// Refuses an answer from where no credential goes, unless the registration that named the place has just proven that
    /// whoever asks may have it.
    pub(super) async fn check_heard(&self, ask: &Ask, fetched: &Fetched) -> Result<(), Failure> {
        if fetched.heard_by != HeardBy::Nobody || self.standing(ask).await.is_good() {
            return Ok(());
        }
        Err(Failure::BadBody {
            origin: fetched.origin.host().to_owned(),
            what: "it lies where no credential goes, so nothing proves who may see it".into(),
        })
    }

    /// The refusal that an answer is, if it is one of a client's own credential: it ends the proof. A 401 says that the
    /// credential itself is good for nothing, so it ends all proofs of it; one to a client without a credential, and a
    /// 403, are about what was asked for.
    pub(super) async fn refusal_of(&self, ask: &Ask, fetched: Fetched) -> Result<Fetched, Failure> {
        let Some(client) = &ask.feed.client else {
            return Ok(fetched);
        };
        let is_refusal = matches!(
            fetched.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        );
        if !is_refusal || fetched.heard_by != HeardBy::Answering {
            return Ok(fetched);
        }
        let (now, instant) = (self.clock.now(), self.clock.instant());
        self.refused.note(client.holder, now, instant);
        match (fetched.status, client.presents) {
            (StatusCode::UNAUTHORIZED, Presents::Credential) => {
                self.store.end_proofs_of(&client.holder);
            }
            _ => ask
                .proof_key()
                .iter()
                .for_each(|key| self.store.end_proof(key)),
        }
        let challenge = self.challenge_of(ask, fetched).await;
        Err(Failure::Challenged(Arc::new(challenge)))
    }

    /// Until when an error of the upstream's own is asked for again. Where a proof has its grace, or a credential will be
    /// demanded, such an error is as good an answer as any.
    pub(super) async fn retry_until(&self, ask: &Ask, hold: Instant) -> Instant {
        let client = ask.feed.client.as_ref();
        let is_news = match self.standing(ask).await {
            Standing::Free | Standing::Live => false,
            Standing::Grace => true,
            Standing::Unproven => client.is_some_and(|client| client.presents == Presents::Nothing),
        };
        if is_news {
            hold.min(self.clock.instant() + self.settings.stale_after)
        } else {
            hold
        }
    }

    /// Asks the upstream about a stored document. Without a proof that is good in an outage, it is waited for as if
    /// there were no copy.
    pub(super) async fn confirmed(
        &self,
        ask: &Ask,
        epoch: Epoch,
        standing: Standing,
    ) -> Result<Confirmed, Failure> {
        if standing == Standing::Unproven
            && let Some(failure) = self.refusals.of(&ask.key, self.clock.instant())
        {
            return Err(failure.without_proof());
        }
        let mut limit = match standing {
            Standing::Unproven => self.settings.max_hold,
            Standing::Free | Standing::Grace | Standing::Live => self.settings.stale_after,
        };
        loop {
            let failure = match self.landed(ask, epoch, limit).await {
                Ok(obtained) => return Ok(Confirmed::Obtained(obtained)),
                Err(failure) => failure,
            };
            if self.excuses(standing, ask, &failure, limit >= self.settings.max_hold) {
                return Ok(Confirmed::Excused(failure));
            }
            let may_wait = standing == Standing::Grace && failure.reason() == Reason::HeldOut;
            if !may_wait || limit >= self.settings.max_hold {
                return Err(failure.without_proof());
            }
            limit += self.settings.stale_after;
        }
    }

    /// Whether a failure is reason enough to give the copy.
    fn excuses(&self, standing: Standing, ask: &Ask, failure: &Failure, is_final: bool) -> bool {
        match standing {
            Standing::Free => true,
            Standing::Live => !matches!(failure, Failure::Challenged(_)),
            // One answer that is late is no outage while its origin sends others.
            Standing::Grace if failure.reason() == Reason::HeldOut && !is_final => {
                self.reach(ask) != Reach::Live
            }
            Standing::Grace => failure.is_outage(),
            Standing::Unproven => false,
        }
    }
}
