//! One read at one origin: attempt after attempt, each in its turn, until there is an answer to hand on.
//!
//! It refuses to follow a redirect and to read a body.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::connect::PrivateAddresses;
use super::error::{Phase, UpstreamError};
use super::fetch::Fetch;
use super::keeper::Presented;
use super::line::Line;
use super::retry::{self, Again, Counts, Pauses};
use super::turns::Turn;
use super::url::{Address, Origin};
use super::{Shared, tunnel};

/// The answer of one origin, and the turn that it has there.
pub(super) struct Answer {
    pub(super) response: Response<Option<Incoming>>,
    pub(super) turn: Option<Turn>,
}

/// How far a request has come at one origin.
#[derive(Default)]
struct Course {
    /// The best that came so far.
    last: Option<Result<Answer, UpstreamError>>,
    /// When it was first sent.
    first_sent_at: Option<Instant>,
    /// How long it had to wait for its turns, all together.
    queued_for: Duration,
    /// Since when it waits for a turn now, if it does.
    queued_since: Option<Instant>,
    /// When it was last sent.
    sent_at: Option<Instant>,
}

impl Course {
    /// It has its turn.
    fn leave_queue(&mut self, now: Instant) {
        let since = self.queued_since.take().unwrap_or(now);
        self.queued_for += now.saturating_duration_since(since);
    }
}

impl Shared {
    /// Asks one origin until it gives an answer to hand on.
    pub(super) async fn ask(
        self: &Arc<Self>,
        line: &Arc<Line>,
        fetch: &Fetch,
        address: &Address,
    ) -> Result<Answer, UpstreamError> {
        if let Some(refused) = line.health.resting.refusal() {
            return Err(refused);
        }
        let began = self.clock.instant();
        let mut pauses = Pauses::by_chance();
        let mut course = Course::default();
        let outcome = tokio::select! {
            biased;
            refused = line.health.opened() => return Err(refused),
            outcome = self.try_until_usable(line, fetch, address, &mut pauses, &mut course) => outcome,
            () = tokio::time::sleep_until(fetch.hold) => None,
        };
        if let Some(outcome) = outcome {
            return outcome;
        }
        let (origin, now) = (line.origin().clone(), self.clock.instant());
        let last = match course.last.take() {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(error)) => Some(Box::new(error)),
            None if course.queued_since.is_some() => {
                return Err(UpstreamError::OwnLimit { origin });
            }
            None => None,
        };
        let held_out = UpstreamError::HeldOut { origin, last };
        // What it waited for its turn is not the origin's doing.
        course.leave_queue(now);
        let waited = now.saturating_duration_since(began + course.queued_for);
        if let Some(sent_at) = course.first_sent_at {
            line.health.hold_expired(sent_at, waited, &held_out);
            self.keep_watch(line);
        }
        Err(held_out)
    }

    /// Attempt after attempt; `None` if the next would begin after the hold.
    async fn try_until_usable(
        self: &Arc<Self>,
        line: &Arc<Line>,
        fetch: &Fetch,
        address: &Address,
        pauses: &mut Pauses,
        course: &mut Course,
    ) -> Option<Result<Answer, UpstreamError>> {
        loop {
            let began = self.clock.instant();
            let mut pause = pauses.lengthen();
            match self.attempt(line, fetch, address, course).await {
                Ok(answer) if !retry::is_passing(answer.response.status()) => {
                    return Some(Ok(answer));
                }
                Ok(answer) => {
                    let (headers, status) = (answer.response.headers(), answer.response.status());
                    let wished = retry::retry_after(headers, self.clock.now());
                    let (wished, now) = (wished.unwrap_or_default(), self.clock.instant());
                    let fits = |pause, limit| {
                        let next = now.checked_add(pause);
                        next.is_some_and(|next| next < limit)
                    };
                    if retry::may_ask_for_rest(status)
                        && !wished.is_zero()
                        && !fits(wished, fetch.hold)
                    {
                        return Some(Err(line.health.resting.begin(status, wished)));
                    }
                    pause = pause.max(wished);
                    if !fits(pause, fetch.hold.min(fetch.retry_until)) {
                        return Some(Ok(answer));
                    }
                    // The turn and the connection are free while we pause.
                    course.last = Some(Ok(Answer {
                        response: answer.response.map(|_| None),
                        turn: None,
                    }));
                }
                Err(error) => {
                    let (counts, again) = retry::judge(&error);
                    tracing::debug!(origin = %line.origin(), %error, "no answer");
                    if counts == Counts::Yes {
                        let sent_at = course.sent_at.unwrap_or(began);
                        line.health.failed(sent_at, &error);
                        self.keep_watch(line);
                    }
                    if again == Again::No {
                        return Some(Err(error));
                    }
                    // An answer says more than a later failure.
                    if !matches!(course.last, Some(Ok(_))) {
                        course.last = Some(Err(error));
                    }
                    if self.clock.instant() + pause >= fetch.hold {
                        return None;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                refused = line.health.resting.begun() => return Some(Err(refused)),
            }
        }
    }

    /// One request to one origin, up to the header of its answer. A credential that it refuses is read again, and if
    /// there is another now, the request is sent once more.
    async fn attempt(
        self: &Arc<Self>,
        line: &Arc<Line>,
        fetch: &Fetch,
        address: &Address,
        course: &mut Course,
    ) -> Result<Answer, UpstreamError> {
        let access = &fetch.access;
        let asked = Origin::of(&fetch.url).map_err(UpstreamError::BadUrl)?;
        let credential = self.credential(line.origin(), &asked, access).await?;
        let answer = self
            .attempt_with(line, fetch, address, credential.as_ref(), course)
            .await?;
        let Some(refused) = credential
            .filter(|_| access.can_renew() && answer.response.status() == StatusCode::UNAUTHORIZED)
        else {
            return Ok(answer);
        };
        // Nothing is held while the secret is read: neither the turn nor, with the body, the connection.
        let Answer { response, turn } = answer;
        drop(turn);
        let answer = Answer {
            response: response.map(|_| None),
            turn: None,
        };
        if !access.renew(&refused).await {
            return Ok(answer);
        }
        let credential = self.credential(line.origin(), &asked, access).await?;
        self.attempt_with(line, fetch, address, credential.as_ref(), course)
            .await
    }

    async fn attempt_with(
        self: &Arc<Self>,
        line: &Arc<Line>,
        fetch: &Fetch,
        address: &Address,
        credential: Option<&Presented>,
        course: &mut Course,
    ) -> Result<Answer, UpstreamError> {
        let mut private = self.allowance(line.origin(), &fetch.access).await?;
        course.queued_since = Some(self.clock.instant());
        let turn = tokio::select! {
            biased;
            refused = line.health.resting.begun() => return Err(refused),
            turn = line.requests.wait(&fetch.stake) => turn,
        };
        let now = self.clock.instant();
        course.leave_queue(now);
        course.first_sent_at.get_or_insert(now);
        course.sent_at = Some(now);
        let _waiting = line.health.begin_wait();
        self.keep_watch(line);
        loop {
            let mut request = self.request(fetch, address, line)?;
            if let Some(credential) = credential {
                credential.apply(request.headers_mut());
            }
            let outcome = self.exchange(line, private, request).await;
            let refused = matches!(outcome, Err(UpstreamError::PrivateAddress { .. }))
                && private == PrivateAddresses::Refuse;
            if refused && self.has_private_upstream(&fetch.access).await {
                private = PrivateAddresses::Allow;
                continue;
            }
            return outcome.map(|response| Answer {
                response: response.map(Some),
                turn,
            });
        }
    }

    async fn exchange(
        &self,
        line: &Line,
        private: PrivateAddresses,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let answer = line.pool(self, private).send(request).await;
        if let Err(UpstreamError::TimedOut {
            phase: Phase::FirstByte,
            ..
        }) = &answer
        {
            line.renew();
        }
        let answer = answer?;
        if answer.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(UpstreamError::ProxyAuthRequired {
                origin: line.origin().clone(),
                proxy: line.forwarded().map(|proxy| proxy.origin().clone()),
                schemes: tunnel::schemes(answer.headers()),
            });
        }
        Ok(answer)
    }
}
