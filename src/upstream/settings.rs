//! What the upstream module obeys.

use std::num::NonZeroU64;
use std::time::Duration;

/// Limits and waits of everything asked of an upstream. The defaults fit a client that asks six times, about a second
/// apart, and gives up on a request after 100 seconds (protocol facts 3.4.1, 3.5.4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The breaker of an origin opens at this many connect or first-byte failures one after another: fewer would let
    /// one restart of a server count as an outage.
    pub breaker_failures: u32,
    /// The longest wait for a connection, name look-up and TLS included. A SYN is repeated after one second and after
    /// three: a host that let two pass does not answer.
    pub connect_timeout: Duration,
    /// The longest wait for the first byte of an answer once its request has a connection.
    pub first_byte_timeout: Duration,
    /// The longest wait for the next byte of a body, in either direction.
    pub idle_timeout: Duration,
    /// The most bytes of bodies taken from one origin in a second, shared fairly by those who wait for them. None by
    /// default: the line is the limit.
    pub max_bytes_per_second: Option<NonZeroU64>,
    /// The most requests under way at one origin, over HTTP/1.1 each on a connection of its own: more than the 48 that a cold restore sends in 50 ms (9.3).
    pub max_connections: usize,
    /// The most bytes of an answer's header; hyper's buffer for reading, so at least 8 KiB.
    pub max_header_bytes: usize,
    /// The longest a request without a stored copy is held, over all retries; callers derive [`super::Fetch::hold`]
    /// from it.
    pub max_hold: Duration,
    /// The most bytes of a push: above it, a client's upload is cut off.
    pub max_push_bytes: u64,
    /// The most redirects followed for one answer.
    pub max_redirects: usize,
    /// The most requests sent to one origin in a second, evenly, retries included, uploads and probes not. None by
    /// default: an origin that wants fewer says so with a 429.
    pub max_requests_per_second: Option<NonZeroU64>,
    /// The least bytes a second that a body must bring, counted over 30 seconds of waiting.
    pub min_rate_bytes: u64,
    /// How long after a breaker opened the origin is first asked again. Doubles after each failure.
    pub probe_after: Duration,
    /// The longest time between two such questions.
    pub probe_max: Duration,
    /// The longest wait for the answer to a push that was sent whole: the real client's own limit for a push.
    pub push_answer_timeout: Duration,
    /// An origin that has sent no byte for this long while requests wait is slow.
    pub stale_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            breaker_failures: 5,
            connect_timeout: Duration::from_secs(3),
            first_byte_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            max_bytes_per_second: None,
            max_connections: 64,
            max_header_bytes: 64 << 10,
            max_hold: Duration::from_secs(15),
            max_push_bytes: 8 << 30,
            max_redirects: 10,
            max_requests_per_second: None,
            min_rate_bytes: 1 << 10,
            probe_after: Duration::from_secs(5),
            probe_max: Duration::from_secs(30),
            push_answer_timeout: Duration::from_secs(300),
            stale_after: Duration::from_secs(2),
        }
    }
}
