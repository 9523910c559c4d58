//! Who waits for a seat: a line for each address, and the lines in turn.
//!
//! An address that sends many makes its own line long and nobody else's. It refuses to know what waits.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};

/// Whom a connection is counted for: an IPv4 address, or the /64 of an IPv6 address, all of which one machine can have
/// (RFC 4291, 2.5.4).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Address(IpAddr);

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from(network))
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// The lines; none of them is empty.
#[derive(Debug)]
pub(super) struct Lines<T> {
    lines: HashMap<Address, VecDeque<T>>,
    /// The order in which they are served.
    order: VecDeque<Address>,
    length: usize,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            order: VecDeque::new(),
            length: 0,
        }
    }
}

impl<T> Lines<T> {
    /// How many wait, in all.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The addresses that somebody waits for.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Address> {
        self.order.iter().copied()
    }

    /// Puts somebody at the end of an address's line.
    pub(super) fn push(&mut self, address: Address, one: T) {
        let line = self.lines.entry(address).or_default();
        if line.is_empty() {
            self.order.push_back(address);
        }
        line.push_back(one);
        self.length += 1;
    }

    /// Takes the first of the line whose turn it is, of those that may have one now.
    pub(super) fn pop(&mut self, may: impl Fn(Address) -> bool) -> Option<(Address, T)> {
        let place = self.order.iter().position(|address| may(*address))?;
        let address = self.order.remove(place)?;
        let line = self.lines.get_mut(&address)?;
        let one = line.pop_front()?;
        self.length -= 1;
        if line.is_empty() {
            self.lines.remove(&address);
        } else {
            self.order.push_back(address);
        }
        Some((address, one))
    }

    /// Takes the last of the longest line.
    pub(super) fn pop_last_of_longest(&mut self) -> Option<T> {
        let (address, line) = self.lines.iter_mut().max_by_key(|(_, line)| line.len())?;
        let (address, one) = (*address, line.pop_back()?);
        self.length -= 1;
        if line.is_empty() {
            self.lines.remove(&address);
            self.order.retain(|other| *other != address);
        }
        Some(one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn addresses_of_one_machine_are_one() {
        for (one, other, is_one) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:0:0:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(address(one) == address(other), is_one, "{one} {other}");
        }
    }

    #[test]
    fn lines_are_served_in_turn_and_each_in_its_order() {
        let (many, few, other) = (
            address("192.0.2.1"),
            address("192.0.2.2"),
            address("192.0.2.3"),
        );
        let mut lines = Lines::default();
        for (address, one) in [(many, 1), (many, 2), (many, 3), (few, 4), (other, 5)] {
            lines.push(address, one);
        }
        assert_eq!(lines.pop(|_| true), Some((many, 1)));
        assert_eq!(lines.pop(|address| address != few), Some((other, 5)));
        assert_eq!(lines.pop(|_| true), Some((few, 4)));
        assert_eq!(lines.addresses().collect::<Vec<_>>(), [many]);
        assert_eq!(lines.pop(|address| address != many), None);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines.pop(|_| true), Some((many, 2)));
        assert_eq!(lines.pop(|_| true), Some((many, 3)));
        assert_eq!(lines.pop(|_| true), None);
        assert_eq!(lines.len(), 0);
    }

    #[test]
    fn the_last_of_the_longest_line_goes_first() {
        let (many, few) = (address("192.0.2.1"), address("192.0.2.2"));
        let mut lines = Lines::default();
        for (address, one) in [(many, 1), (few, 2), (many, 3)] {
            lines.push(address, one);
        }
        assert_eq!(lines.pop_last_of_longest(), Some(3));
        assert_eq!(lines.pop(|address| address == few), Some((few, 2)));
        assert_eq!(lines.pop_last_of_longest(), Some(1));
        assert_eq!(lines.pop_last_of_longest(), None);
        assert_eq!((lines.len(), lines.addresses().count()), (0, 0));
    }
}
