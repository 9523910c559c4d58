//! What is wrong between settings that are each right.
//!
//! It refuses to complain of a default: one that is above a setting of the user follows it silently, since nobody chose
//! it.

use std::collections::HashMap;
use std::fmt::Debug;

use super::Config;
use super::problem::{Place, Problem};

/// Checks settings against each other. `places` says which were given, and where.
pub(super) fn find(config: &mut Config, places: &HashMap<&'static str, Place>) -> Vec<Problem> {
    let mut conflicts = Conflicts {
        places,
        found: Vec::new(),
    };
    let Config {
        server,
        store,
        upstream,
        proxy,
        ..
    } = config;
    conflicts.at_most(
        ("max_answer_bytes", &mut store.max_answer_bytes),
        ("memory_bytes", store.memory_bytes),
    );
    conflicts.at_most(
        ("probe_after", &mut upstream.probe_after),
        ("probe_max", upstream.probe_max),
    );
    conflicts.at_most(
        ("stale_after", &mut upstream.stale_after),
        ("max_hold", upstream.max_hold),
    );
    proxy.stale_after = upstream.stale_after;
    let mut taken = Vec::new();
    for address in server.addresses() {
        // Port 0 is a port of the system's choice each time, so it clashes with nothing.
        if address.port() != 0 && taken.contains(&address) {
            conflicts.push("listen", address.to_string(), "each address once");
        }
        taken.push(address);
    }
    for address in &server.tls.listen {
        if address.port() != 0 && taken.contains(address) {
            let expected = "each address once, and none that listen has";
            conflicts.push("tls_listen", address.to_string(), expected);
        }
        taken.push(*address);
    }
    if let Some(admin) = server.admin_listen
        && admin.port() != 0
        && taken.contains(&admin)
    {
        let expected = "an address that neither listen nor tls_listen has";
        conflicts.push("admin_listen", admin.to_string(), expected);
    }
    conflicts.found
}

/// Lists of users without a file of users: every name in them is nobody's.
pub(super) fn find_users(config: &Config, places: &HashMap<&'static str, Place>) -> Vec<Problem> {
    let mut conflicts = Conflicts {
        places,
        found: Vec::new(),
    };
    if config.access.users_file.is_some() {
        return conflicts.found;
    }
    let expected = "users_file beside it";
    if !config.access.admins.is_empty() {
        conflicts.push("admins", config.access.admins.join(", "), expected);
    }
    for feed in &config.proxy.feeds {
        let readers = feed.clients.readers.iter().flatten();
        let names: Vec<&str> = readers
            .chain(&feed.clients.pushers)
            .map(String::as_str)
            .collect();
        if !names.is_empty() {
            conflicts.push("readers and pushers", names.join(", "), expected);
        }
    }
    conflicts.found
}

struct Conflicts<'a> {
    places: &'a HashMap<&'static str, Place>,
    found: Vec<Problem>,
}

impl Conflicts<'_> {
    fn at_most<T: Copy + Debug + Ord>(
        &mut self,
        (lesser, value): (&'static str, &mut T),
        (greater, limit): (&'static str, T),
    ) {
        if *value <= limit {
            return;
        }
        if self.places.contains_key(lesser) {
            let expected = format!("at most {greater}, which is {limit:?}");
            self.push(lesser, format!("{value:?}"), &expected);
        } else {
            *value = limit;
        }
    }

    fn push(&mut self, setting: &'static str, found: String, expected: &str) {
        let place = self.places.get(setting).cloned();
        self.found.push(Problem {
            place: place.unwrap_or(Place::Nowhere),
            setting: setting.to_owned(),
            found: Some(found),
            expected: expected.to_owned(),
        });
    }
}
