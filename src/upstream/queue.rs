//! Who comes next of those who wait for one thing: a pure book of places and of what each asker was given.
//!
//! Of all askers with somebody waiting, the one comes next that was given least, so that a client with hundreds of
//! requests delays another's single one by one turn, not by hundreds. What no client waits for yields to what clients
//! wait for, but has a share that nothing takes away. It refuses to wait, to read time, and to know what is waited for.

use std::collections::{HashMap, VecDeque};

use super::stake::{Asker, Urgency};

/// After this many turns of clients in a row, one goes to what nobody waits for, if there is any: a refresh that never
/// came would leave copies stale for as long as clients keep the origin busy.
const CLIENT_TURNS: u32 = 8;

/// Askers that wait for nothing are remembered up to this many, some hundred bytes each.
const MAX_IDLE_ASKERS: usize = 1024;

/// Those who wait, each with a `T`.
#[derive(Debug)]
pub(super) struct Queue<T> {
    background: Accounts,
    clients: Accounts,
    /// Turns of clients since the last of the others, while those waited.
    client_turns: u32,
    next_number: u64,
    places: HashMap<u64, Place<T>>,
    /// How many of the places are in the background.
    waiting_behind: usize,
}

/// What of the background may come next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Background {
    /// It has its share already.
    Held,
    /// As its share says.
    Shares,
}

/// Whose turn it is.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Next<T> {
    pub(super) asker: Asker,
    pub(super) urgency: Urgency,
    pub(super) waiter: T,
}

#[derive(Debug)]
struct Place<T> {
    urgency: Urgency,
    waiter: T,
}

/// The askers of one urgency.
#[derive(Debug, Default)]
struct Accounts {
    accounts: HashMap<Asker, Account>,
    /// What the last one served had been given before. Newcomers begin here: what they did not take while they were away
    /// is not made up for.
    level: u64,
}

#[derive(Debug)]
struct Account {
    given: u64,
    /// Their numbers, the oldest first. A number whose place is gone is passed over.
    places: VecDeque<u64>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            background: Accounts::default(),
            clients: Accounts::default(),
            client_turns: 0,
            next_number: 0,
            places: HashMap::new(),
            waiting_behind: 0,
        }
    }
}

impl<T> Queue<T> {
    /// How many wait with this urgency.
    pub(super) fn waiting(&self, urgency: Urgency) -> usize {
        match urgency {
            Urgency::Background => self.waiting_behind,
            Urgency::Client => self.places.len() - self.waiting_behind,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Adds somebody who waits; gives the number of the place.
    pub(super) fn push(&mut self, asker: &Asker, urgency: Urgency, waiter: T) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.places.insert(number, Place { urgency, waiter });
        self.waiting_behind += usize::from(urgency == Urgency::Background);
        self.accounts(urgency).push(asker, number);
        number
    }

    /// Has another asker wait in the same place: whoever of them comes first takes it for all.
    pub(super) fn share(&mut self, number: u64, asker: &Asker, urgency: Urgency) {
        let Some(place) = self.places.get_mut(&number) else {
            return;
        };
        if urgency > place.urgency {
            place.urgency = urgency;
            self.waiting_behind -= 1;
        }
        self.accounts(urgency).push(asker, number);
    }

    /// Somebody waits no longer.
    pub(super) fn remove(&mut self, number: u64) {
        if let Some(place) = self.places.remove(&number) {
            self.waiting_behind -= usize::from(place.urgency == Urgency::Background);
        }
    }

    /// Takes out whoever comes next, and notes that its asker was given `cost`.
    pub(super) fn next(&mut self, background: Background, cost: u64) -> Option<Next<T>> {
        let is_due = self.client_turns >= CLIENT_TURNS;
        let order = if is_due {
            [Urgency::Background, Urgency::Client]
        } else {
            [Urgency::Client, Urgency::Background]
        };
        for urgency in order {
            if urgency == Urgency::Background && background == Background::Held {
                continue;
            }
            let (accounts, places) = match urgency {
                Urgency::Background => (&mut self.background, &self.places),
                Urgency::Client => (&mut self.clients, &self.places),
            };
            let Some((asker, number)) = accounts.next(|number| places.contains_key(&number), cost)
            else {
                continue;
            };
            let Some(place) = self.places.remove(&number) else {
                continue;
            };
            self.waiting_behind -= usize::from(place.urgency == Urgency::Background);
            self.client_turns = match urgency {
                Urgency::Client if self.waiting_behind > 0 => self.client_turns + 1,
                Urgency::Background | Urgency::Client => 0,
            };
            return Some(Next {
                asker,
                urgency: place.urgency,
                waiter: place.waiter,
            });
        }
        None
    }

    /// Corrects what an asker was said to be given by a turn.
    pub(super) fn correct(&mut self, asker: &Asker, urgency: Urgency, said: u64, given: u64) {
        if let Some(account) = self.accounts(urgency).accounts.get_mut(asker) {
            account.given = account.given.saturating_sub(said).saturating_add(given);
        }
    }

    fn accounts(&mut self, urgency: Urgency) -> &mut Accounts {
        match urgency {
            Urgency::Background => &mut self.background,
            Urgency::Client => &mut self.clients,
        }
    }
}

impl Accounts {
    fn push(&mut self, asker: &Asker, number: u64) {
        if let Some(account) = self.accounts.get_mut(asker) {
            account.given = account.given.max(self.level);
            account.places.push_back(number);
            return;
        }
        if self.accounts.len() > MAX_IDLE_ASKERS {
            self.accounts
                .retain(|_, account| !account.places.is_empty());
        }
        let account = Account {
            given: self.level,
            places: VecDeque::from([number]),
        };
        self.accounts.insert(asker.clone(), account);
    }

    /// The asker that was given least of those who wait, and the number of its oldest place.
    fn next(&mut self, is_there: impl Fn(u64) -> bool, cost: u64) -> Option<(Asker, u64)> {
        let level = self.level;
        self.accounts.retain(|_, account| {
            while let Some(number) = account.places.front()
                && !is_there(*number)
            {
                account.places.pop_front();
            }
            !account.places.is_empty() || account.given > level
        });
        let waiting = self.accounts.iter_mut().filter_map(|(asker, account)| {
            let first = *account.places.front()?;
            Some(((account.given, first), asker, account))
        });
        let ((given, number), asker, account) = waiting.min_by_key(|(rank, ..)| *rank)?;
        account.places.pop_front();
        account.given = given.saturating_add(cost);
        self.level = level.max(given);
        Some((asker.clone(), number))
    }
}

#[cfg(test)]
mod tests {
    //! Cases: turns of equal and of unequal cost, newcomers, places shared and left, the share of the background.

    use super::*;

    fn asker(name: &str) -> Asker {
        Asker::new(&name.into(), None)
    }

    /// Takes `turns` turns of cost 1; the waiters' names, one after another.
    fn taken(queue: &mut Queue<&'static str>, turns: usize) -> String {
        let names = (0..turns).filter_map(|_| queue.next(Background::Shares, 1));
        names.map(|next| next.waiter).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(waiting: &[(&str, Urgency, &'static str)], expected: &str) {
        let mut queue = Queue::default();
        for (name, urgency, waiter) in waiting {
            queue.push(&asker(name), *urgency, *waiter);
        }
        assert_eq!(taken(&mut queue, waiting.len()), expected);
        assert!(queue.is_empty());
    }

    #[test]
    fn askers_take_turns_and_each_its_own_in_order() {
        use Urgency::Client;
        check(&[], "");
        check(
            &[
                ("a", Client, "a1"),
                ("a", Client, "a2"),
                ("a", Client, "a3"),
                ("b", Client, "b1"),
                ("c", Client, "c1"),
                ("c", Client, "c2"),
            ],
            "a1 b1 c1 a2 c2 a3",
        );
    }

    #[test]
    fn one_request_waits_for_one_turn_of_each_other_asker_however_much_they_want() {
        let mut queue = Queue::default();
        for _ in 0..500 {
            queue.push(&asker("many"), Urgency::Client, "many");
        }
        assert_eq!(taken(&mut queue, 3), "many many many");
        queue.push(&asker("one"), Urgency::Client, "one");
        assert_eq!(taken(&mut queue, 2), "one many");
    }

    #[test]
    fn who_was_away_is_not_given_what_it_did_not_take() {
        let mut queue = Queue::default();
        for _ in 0..100 {
            queue.push(&asker("a"), Urgency::Client, "a");
        }
        taken(&mut queue, 50);
        for _ in 0..4 {
            queue.push(&asker("b"), Urgency::Client, "b");
        }
        assert_eq!(taken(&mut queue, 8), "b a b a b a b a");
    }

    #[test]
    fn turns_of_unequal_cost_make_equal_shares() {
        let mut queue = Queue::default();
        let mut given = HashMap::from([("large", 0), ("small", 0)]);
        for _ in 0..600 {
            for name in ["large", "small"] {
                // Each has one body, which waits again once it had its turn.
                if !queue.places.values().any(|place| place.waiter == name) {
                    queue.push(&asker(name), Urgency::Client, name);
                }
            }
            let next = queue.next(Background::Shares, 16).unwrap();
            let bytes = if next.waiter == "large" { 64 } else { 10 };
            queue.correct(&next.asker, next.urgency, 16, bytes);
            *given.get_mut(next.waiter).unwrap() += bytes;
        }
        let (large, small) = (given["large"], given["small"]);
        assert!(large.abs_diff(small) <= 64, "{large} {small}");
    }

    #[test]
    fn a_shared_place_is_taken_once_by_whoever_comes_first() {
        let mut queue = Queue::default();
        for _ in 0..9 {
            queue.push(&asker("a"), Urgency::Client, "a");
        }
        let last = queue.push(&asker("a"), Urgency::Client, "both");
        queue.share(last, &asker("b"), Urgency::Client);
        assert_eq!(taken(&mut queue, 2), "a both");
        assert_eq!(taken(&mut queue, 20), ["a"; 8].join(" "));
    }

    #[test]
    fn a_place_that_was_left_is_passed_over() {
        let mut queue = Queue::default();
        let first = queue.push(&asker("a"), Urgency::Client, "a1");
        queue.push(&asker("a"), Urgency::Client, "a2");
        let behind = queue.push(&asker("a"), Urgency::Background, "a3");
        queue.remove(first);
        queue.remove(behind);
        queue.remove(behind);
        assert_eq!(queue.waiting(Urgency::Client), 1);
        assert_eq!(queue.waiting(Urgency::Background), 0);
        assert_eq!(taken(&mut queue, 3), "a2");
    }

    #[test]
    fn the_background_yields_and_has_one_turn_in_nine() {
        let mut queue = Queue::default();
        for _ in 0..3 {
            queue.push(&asker("a"), Urgency::Background, "-");
        }
        for _ in 0..20 {
            queue.push(&asker("a"), Urgency::Client, "c");
        }
        let eight = ["c"; 8].join(" ");
        assert_eq!(taken(&mut queue, 18), format!("{eight} - {eight} -"));
        // Without clients it has every turn, and what was held back is no debt.
        assert_eq!(taken(&mut queue, 9), "c c c c -");
        for _ in 0..9 {
            queue.push(&asker("a"), Urgency::Client, "c");
        }
        queue.push(&asker("a"), Urgency::Background, "-");
        assert_eq!(taken(&mut queue, 10), format!("{eight} - c"));
    }

    #[test]
    fn the_background_waits_where_it_has_its_share_already() {
        let mut queue = Queue::default();
        queue.push(&asker("a"), Urgency::Background, "-");
        assert_eq!(queue.next(Background::Held, 1), None);
        assert_eq!(queue.waiting(Urgency::Background), 1);
        assert_eq!(taken(&mut queue, 1), "-");
    }

    #[test]
    fn a_client_that_joins_brings_a_place_out_of_the_background() {
        let mut queue = Queue::default();
        let place = queue.push(&asker("a"), Urgency::Background, "joined");
        queue.push(&asker("a"), Urgency::Background, "-");
        queue.push(&asker("a"), Urgency::Client, "c");
        queue.share(place, &asker("b"), Urgency::Client);
        assert_eq!(queue.waiting(Urgency::Client), 2);
        assert_eq!(taken(&mut queue, 3), "joined c -");
    }

    #[test]
    fn askers_that_wait_for_nothing_are_forgotten() {
        let mut queue = Queue::default();
        for number in 0..5_000 {
            queue.push(&asker(&number.to_string()), Urgency::Client, "x");
            taken(&mut queue, 1);
        }
        assert!(queue.clients.accounts.len() <= MAX_IDLE_ASKERS + 2);
    }
}
