//! Many clients that want one large body at the same moment, and the memory that it costs Sluice.

use super::http::{Connection, Request};
use super::sluice::Sluice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    /// Bytes that each client got.
    pub(crate) bytes: u64,
    /// crc32c of them.
    pub(crate) digest: u32,
    pub(crate) elapsed: Duration,
    /// When the last of them had its first byte of the body.
    pub(crate) first_byte_at: SystemTime,
    /// The most anonymous memory that was seen.
    pub(crate) peak_bytes: u64,
}

/// The large package below a flat container.
pub(crate) const BIG: &str = "sluice.sample.big/1.0.0/sluice.sample.big.1.0.0.nupkg";

/// Between two looks at the memory; a peak of a request's length lasts far longer.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Sends `clients` clients at once for `path`.
///
/// # Panics
/// If one of them gets an error, or other bytes than the rest.
pub(crate) fn send(sluice: &Sluice, path: &str, clients: usize) -> Crowd {
    let began = Instant::now();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let peak = scope.spawn(|| {
            let mut peak = 0;
            while !ended.load(Ordering::Relaxed) {
                peak = peak.max(sluice.process.anonymous_bytes());
                std::thread::sleep(LOOK_EVERY);
            }
            peak
        });
        let clients: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| one(sluice, path)))
            .collect();
        let got: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        ended.store(true, Ordering::Relaxed);
        let got: Vec<_> = got
            .into_iter()
            .map(|one| one.expect("a client gets its body"))
            .collect();
        let &(bytes, digest, _) = got.first().expect("there is a client");
        assert!(
            got.iter().all(|one| (one.0, one.1) == (bytes, digest)),
            "clients got different bodies: {got:?}"
        );
        Crowd {
            bytes,
            digest,
            elapsed: began.elapsed(),
            first_byte_at: got
                .iter()
                .map(|one| one.2)
                .max()
                .expect("there is a client"),
            peak_bytes: peak.join().expect("Sluice lives"),
        }
    })
}

/// Length and crc32c of the body, and when its first byte came.
fn one(sluice: &Sluice, path: &str) -> (u64, u32, SystemTime) {
    let mut connection = Connection::open(sluice.address).expect("Sluice accepts connections");
    let (mut bytes, mut digest, mut first) = (0, 0, None);
    let reply = connection.ask_into(&Request::get(path, &[]), &mut |part| {
        first.get_or_insert_with(SystemTime::now);
        bytes += part.len() as u64;
        digest = crc32c::crc32c_append(digest, part);
    });
    let reply = reply.unwrap_or_else(|error| panic!("{path} broke after {bytes} bytes: {error}"));
    assert_eq!(reply.status, 200, "{path}: {}", reply.reason);
    (bytes, digest, first.expect("the body is not empty"))
}
