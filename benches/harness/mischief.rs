//! What a scripted upstream does wrong: faults by chance, as many as the weather of the moment has, counted by kind.
//!
//! Each may cost a client its answer, and none may give it another: what is sent whole and looks right is right. It
//! refuses to say that something does not exist.

use super::random::Random;
use rustix::net::sockopt::set_socket_linger;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One way to fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mischief {
    /// The right bytes under the digest of others.
    BadDigest,
    /// The connection ends without an answer.
    Close,
    /// A whole answer that is not what was asked for.
    Garbage,
    /// Bytes that are no HTTP.
    NoHttp,
    /// 429 that wants a second of rest.
    RateLimit,
    /// The right bytes, at another address.
    Redirect,
    /// The connection is reset without an answer.
    Reset,
    ServerError,
    /// The body ends before its length is reached.
    Short,
    /// The right bytes, drop by drop.
    SlowBody,
    /// Nothing for a while, and then the end.
    Stall,
    /// The connection is reset in the middle of the body.
    Torn,
    Unavailable,
}

impl Mischief {
    pub(crate) const ALL: [Self; 13] = [
        Self::BadDigest,
        Self::Close,
        Self::Garbage,
        Self::NoHttp,
        Self::RateLimit,
        Self::Redirect,
        Self::Reset,
        Self::ServerError,
        Self::Short,
        Self::SlowBody,
        Self::Stall,
        Self::Torn,
        Self::Unavailable,
    ];

    /// Whether it can befall an upload, whose answer has no body.
    fn needs_no_body(self) -> bool {
        match self {
            Self::Close
            | Self::RateLimit
            | Self::Reset
            | Self::ServerError
            | Self::Stall
            | Self::Unavailable => true,
            Self::BadDigest
            | Self::Garbage
            | Self::NoHttp
            | Self::Redirect
            | Self::Short
            | Self::SlowBody
            | Self::Torn => false,
        }
    }
}

/// How much goes wrong now, and what has.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    /// Of a thousand answers so many fail.
    per_mille: AtomicU64,
    counts: [AtomicU64; Mischief::ALL.len()],
}

/// What would be sent if nothing went wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

impl Weather {
    /// From now on, so many of a thousand answers fail.
    pub(crate) fn turn(&self, per_mille: u64) {
        self.per_mille.store(per_mille, Ordering::SeqCst);
    }

    /// How often each kind was seen.
    pub(crate) fn seen(&self) -> Vec<(Mischief, u64)> {
        let counts = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        Mischief::ALL.into_iter().zip(counts).collect()
    }

    /// What befalls this answer, if anything.
    pub(crate) fn draw(&self, random: &mut Random) -> Option<Mischief> {
        if random.below(1000) >= self.per_mille.load(Ordering::SeqCst) {
            return None;
        }
        let drawn = Mischief::ALL[random.place(Mischief::ALL.len())];
        // One that wants rest silences a whole host, so that there would be little else.
        (drawn != Mischief::RateLimit || random.chance(20)).then_some(drawn)
    }

    /// What befalls this upload, if anything.
    pub(crate) fn draw_for_upload(&self, random: &mut Random) -> Option<Mischief> {
        self.draw(random)
            .filter(|mischief| mischief.needs_no_body())
    }

    /// Commits it in place of the answer.
    ///
    /// # Errors
    /// If the connection ends by it, or was ended by the other side.
    pub(crate) fn commit(
        &self,
        mischief: Mischief,
        mut stream: &TcpStream,
        answer: Answer<'_>,
        random: &mut Random,
    ) -> io::Result<()> {
        let place = Mischief::ALL.iter().position(|kind| *kind == mischief);
        self.counts[place.expect("ALL has all")].fetch_add(1, Ordering::Relaxed);
        let ended = || Err(io::ErrorKind::ConnectionAborted.into());
        let plain = |status: &str, more: &str| {
            format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{more}\r\n")
        };
        let length = answer.body.len();
        let half = length / 2;
        match mischief {
            Mischief::BadDigest => {
                let digest = "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
                stream.write_all(whole(answer, digest, length).as_bytes())?;
                stream.write_all(answer.body)
            }
            Mischief::Close => ended(),
            Mischief::Garbage => {
                let body = garbage(length, random);
                stream.write_all(whole(answer, "", body.len()).as_bytes())?;
                stream.write_all(&body)
            }
            Mischief::NoHttp => {
                stream.write_all(&random.bytes(500))?;
                ended()
            }
            Mischief::RateLimit => {
                stream.write_all(plain("429 Too Many Requests", "Retry-After: 1\r\n").as_bytes())
            }
            Mischief::Redirect => {
                let place = format!("Location: /moved{}\r\n", answer.path);
                stream.write_all(plain("302 Found", &place).as_bytes())
            }
            Mischief::Reset => {
                set_socket_linger(stream, Some(Duration::ZERO))?;
                ended()
            }
            Mischief::ServerError => {
                stream.write_all(plain("500 Internal Server Error", "").as_bytes())
            }
            Mischief::Short | Mischief::Torn => {
                stream.write_all(whole(answer, "", length).as_bytes())?;
                stream.write_all(&answer.body[..half])?;
                // So that what was sent has arrived before the reset overtakes it.
                std::thread::sleep(Duration::from_millis(20));
                if mischief == Mischief::Torn {
                    set_socket_linger(stream, Some(Duration::ZERO))?;
                }
                ended()
            }
            Mischief::SlowBody => {
                stream.write_all(whole(answer, "", length).as_bytes())?;
                for piece in answer.body.chunks((length / 10).max(1)) {
                    stream.write_all(piece)?;
                    std::thread::sleep(Duration::from_millis(random.between(20, 150)));
                }
                Ok(())
            }
            Mischief::Stall => {
                std::thread::sleep(Duration::from_millis(random.between(500, 2500)));
                ended()
            }
            Mischief::Unavailable => {
                stream.write_all(plain("503 Service Unavailable", "").as_bytes())
            }
        }
    }
}

/// The head of an answer with a body of that length.
fn whole(answer: Answer<'_>, more: &str, length: usize) -> String {
    let mut head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{more}");
    for (name, value) in answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}

/// A body that is nothing which anybody asks for.
fn garbage(length: usize, random: &mut Random) -> Vec<u8> {
    match random.below(4) {
        0 => b"<!DOCTYPE html><html><body>Sign in</body></html>".to_vec(),
        1 => b"{\"error\":\"busy\"}".to_vec(),
        2 => b"{\"versions\":[\"1.0.0\"".to_vec(),
        _ => random.bytes(length),
    }
}
