//! For whom a request upstream is sent, how urgently, and whether it still waits for its turn.
//!
//! Requests that wait for one flight share its [`Stake`], and with it its place in the queue of an origin: whoever of
//! them would come first brings it its turn. It refuses to know what is asked for.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::turns::Turns;

/// Askers that one place is queued for at most; further ones share it without speeding it up.
const MAX_ASKERS: usize = 64;

/// Who asks: turns at an origin are shared fairly between these.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Asker {
    feed: Arc<str>,
    /// The client's network; none is Sluice itself.
    client: Option<IpAddr>,
}

impl Asker {
    /// A client of a feed; without one, Sluice itself. Of IPv6 the first 64 bits count, for one machine has all
    /// addresses behind them.
    #[must_use]
    pub fn new(feed: &Arc<str>, client: Option<IpAddr>) -> Self {
        let network = |client: IpAddr| match client.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        };
        Self {
            feed: Arc::clone(feed),
            client: client.map(network),
        }
    }
}

/// How urgently something is asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Urgency {
    /// No client waits for it: a refresh behind an answer that was given, data fetched ahead.
    Background,
    /// A client waits for it.
    Client,
}

impl Urgency {
    /// Both, the less urgent first.
    pub const ALL: [Self; 2] = [Self::Background, Self::Client];

    /// The word for it, in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Background => "background",
            Self::Client => "client",
        }
    }
}

/// The place of one request upstream and of everybody who waits for it.
#[derive(Debug)]
pub struct Stake {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    askers: Vec<Asker>,
    /// Where it waits for a turn now, and under which number.
    place: Option<(Turns, u64)>,
    urgency: Urgency,
}

impl Stake {
    /// A place that nobody has taken yet.
    #[must_use]
    pub fn new(asker: Asker, urgency: Urgency) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                askers: vec![asker],
                place: None,
                urgency,
            }),
        })
    }

    /// Has another asker wait in this place.
    pub fn join(&self, asker: Asker, urgency: Urgency) {
        let mut state = self.lock();
        let is_known = state.askers.contains(&asker) && urgency <= state.urgency;
        if is_known || state.askers.len() >= MAX_ASKERS {
            return;
        }
        state.urgency = state.urgency.max(urgency);
        if let Some((turns, number)) = &state.place {
            turns.share(*number, &asker, urgency);
        }
        if !state.askers.contains(&asker) {
            state.askers.push(asker);
        }
    }

    /// Whether it waits for a turn of ours, and not for the origin.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.lock().place.is_some()
    }

    /// How urgent it is by now.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        self.lock().urgency
    }

    /// Has it wait for a turn: `queue` puts it in line, and gives its number.
    pub(super) fn wait(&self, turns: &Turns, queue: impl FnOnce(&[Asker], Urgency) -> u64) -> u64 {
        let mut state = self.lock();
        let number = queue(&state.askers, state.urgency);
        state.place = Some((turns.clone(), number));
        number
    }

    /// It waits no longer.
    pub(super) fn leave(&self) {
        self.lock().place = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_its_network_and_its_feed() {
        let asker = |feed: &str, client: &str| {
            Asker::new(&feed.into(), Some(client.parse().expect("an address")))
        };
        let v4 = asker("a", "192.0.2.1");
        assert_eq!(v4, asker("a", "::ffff:192.0.2.1"));
        assert_ne!(v4, asker("a", "192.0.2.2"));
        assert_ne!(v4, asker("b", "192.0.2.1"));
        assert_ne!(v4, Asker::new(&"a".into(), None));
        let v6 = asker("a", "2001:db8::1");
        assert_eq!(v6, asker("a", "2001:db8::ffff:2"));
        assert_ne!(v6, asker("a", "2001:db8:0:1::1"));
    }
}
