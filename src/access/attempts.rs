//! Failed attempts, by client address: how many wrong passwords each may still try, and when the log tells of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Wrong passwords that an address may try in a row: a machine whose stored password is old tries a handful.
const BURST: u32 = 20;
/// How long until an address has earned one more try.
const EARNED_IN: Duration = Duration::from_secs(3);
/// How often the log tells of one address.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Addresses remembered, some hundred bytes each.
const MAX_ADDRESSES: usize = 4096;

/// What addresses did lately.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    addresses: Mutex<HashMap<IpAddr, Record>>,
}

#[derive(Debug)]
struct Record {
    /// When everything it tried is earned again.
    clear_at: Instant,
    /// When the log last told of it.
    told_at: Option<Instant>,
    /// Failures since then.
    untold: u64,
}

impl Attempts {
    /// Whether an address has used up its tries.
    pub(super) fn is_spent(&self, client: IpAddr, now: Instant) -> bool {
        let addresses = self.lock();
        let clear_at = addresses
            .get(&network_of(client))
            .map(|record| record.clear_at);
        clear_at.is_some_and(|at| at.saturating_duration_since(now) > EARNED_IN * (BURST - 1))
    }

    /// Notes a wrong password that had to be hashed.
    pub(super) fn note_wrong(&self, client: IpAddr, now: Instant) {
        let mut addresses = self.lock();
        let record = record_of(&mut addresses, client, now);
        record.clear_at = record.clear_at.max(now) + EARNED_IN;
    }

    /// Notes a refusal; says of how many the log should tell now, if it should.
    pub(super) fn note_refusal(&self, client: IpAddr, now: Instant) -> Option<u64> {
        let mut addresses = self.lock();
        let record = record_of(&mut addresses, client, now);
        record.untold += 1;
        let is_due = record
            .told_at
            .is_none_or(|at| now.saturating_duration_since(at) >= TOLD_EVERY);
        is_due.then(|| {
            record.told_at = Some(now);
            std::mem::take(&mut record.untold)
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Record>> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn record_of(addresses: &mut HashMap<IpAddr, Record>, client: IpAddr, now: Instant) -> &mut Record {
    let client = network_of(client);
    if addresses.len() >= MAX_ADDRESSES && !addresses.contains_key(&client) {
        addresses.retain(|_, record| record.clear_at > now);
        // Who has that many addresses is not held up by a count of each; the pace of hashing still holds.
        if addresses.len() >= MAX_ADDRESSES {
            addresses.clear();
        }
    }
    addresses.entry(client).or_insert(Record {
        clear_at: now,
        told_at: None,
        untold: 0,
    })
}

/// What counts as one address: of IPv6 the first 64 bits, for one machine has all addresses behind them.
fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_a_few_tries_and_earns_them_again() {
        let attempts = Attempts::default();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let now = Instant::now();
        for _ in 0..BURST {
            assert!(!attempts.is_spent(one, now));
            attempts.note_wrong(one, now);
        }
        assert!(attempts.is_spent(one, now) && !attempts.is_spent(other, now));
        assert!(attempts.is_spent(address("::ffff:192.0.2.1"), now));
        let later = now + EARNED_IN;
        assert!(!attempts.is_spent(one, later));
        attempts.note_wrong(one, later);
        assert!(attempts.is_spent(one, later));
    }

    #[tokio::test(start_paused = true)]
    async fn one_machine_is_one_address() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for last in 0..BURST {
            attempts.note_wrong(address(&format!("2001:db8::{last:x}")), now);
        }
        assert!(attempts.is_spent(address("2001:db8::ffff:1"), now));
        assert!(!attempts.is_spent(address("2001:db8:0:1::1"), now));
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_tells_of_an_address_once_a_minute() {
        let attempts = Attempts::default();
        let one = address("192.0.2.1");
        let now = Instant::now();
        assert_eq!(attempts.note_refusal(one, now), Some(1));
        for _ in 0..9 {
            assert_eq!(attempts.note_refusal(one, now), None);
        }
        assert_eq!(attempts.note_refusal(one, now + TOLD_EVERY), Some(10));
        assert_eq!(attempts.note_refusal(address("192.0.2.2"), now), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn many_addresses_stay_bounded() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for number in 0..MAX_ADDRESSES + 10 {
            let bits = u32::try_from(number).expect("a small number");
            attempts.note_wrong(IpAddr::from(std::net::Ipv4Addr::from_bits(bits)), now);
        }
        assert!(attempts.lock().len() <= MAX_ADDRESSES);
    }
}
