//! What of a request shapes its response, and how an answer came about.

use std::time::SystemTime;

use http::{HeaderMap, Method, Version};

use super::base::Scheme;
use super::outcome::{Outcome, Reason};
use crate::clock::Clock;

/// How bodies reach the client's connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// Bytes are copied: TLS, HTTP/2, HTTP/1.0, pipes.
    Copy,
    /// Address tokens become `sendfile` calls: plain HTTP/1.1 over TCP.
    Sendfile,
}

/// What of a request shapes its response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) method: &'a Method,
    pub(super) version: Version,
    pub(super) headers: &'a HeaderMap,
    pub(super) scheme: Scheme,
    pub(super) transport: Transport,
    pub(super) clock: &'a Clock,
}

/// How an answer came about, for `Cache-Status` and `Age`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    pub(super) outcome: Outcome,
    pub(super) reason: Option<Reason>,
    /// Freshness left in seconds, where it is limited.
    pub(super) ttl: Option<i64>,
    /// When the upstream last confirmed what is said, if not for this request.
    pub(super) validated_at: Option<SystemTime>,
}

impl Note {
    pub(super) fn of(outcome: Outcome, reason: Option<Reason>) -> Self {
        Self {
            outcome,
            reason,
            ttl: None,
            validated_at: None,
        }
    }
}
