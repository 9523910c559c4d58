//! What is no mistake and yet worth a warning: settings that are each right and together unwise.
//!
//! It refuses to keep the process from starting.

use super::Config;
use crate::access::rules::Mode;

/// What to warn of, in words.
#[must_use]
pub fn advice(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if !listens_in_the_clear(config) {
        return warnings;
    }
    for feed in &config.proxy.feeds {
        let what = match feed.clients.mode {
            Mode::Open => continue,
            Mode::Own => "asks clients for passwords and tokens",
            Mode::Passthrough => "passes clients' credentials on",
        };
        warnings.push(format!(
            "feed {:?} {what}, and they reach us over plain http: serve it over https, by tls_listen or a proxy named in \
             trusted_proxies or public_url",
            feed.name
        ));
    }
    warnings
}

/// Whether clients of other machines may reach us without TLS: there is an address for them, and nothing says that a
/// proxy stands in front of it.
fn listens_in_the_clear(config: &Config) -> bool {
    let addresses = config.server.addresses();
    let is_open = addresses.iter().any(|address| !address.ip().is_loopback());
    let base = &config.proxy.base;
    let public = base.public_url.as_deref().unwrap_or_default();
    is_open && base.trusted_proxies.is_empty() && !public.starts_with("https://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Config), expected: usize) {
        let mut config = Config::default();
        config.server.listen = Some(vec![([0, 0, 0, 0], 6850).into()]);
        config.proxy.feeds[0].clients.mode = Mode::Passthrough;
        change(&mut config);
        let found = advice(&config);
        assert_eq!(found.len(), expected, "{found:?}");
        assert!(found.iter().all(|text| text.contains("\"nuget\"")));
    }

    #[test]
    fn passwords_in_the_clear_are_warned_of() {
        check(|_| {}, 1);
        check(|config| config.proxy.feeds[0].clients.mode = Mode::Own, 1);
        check(|config| config.server.listen = None, 0);
        check(|config| config.proxy.feeds[0].clients.mode = Mode::Open, 0);
        check(
            |config| config.proxy.base.public_url = Some("https://nuget.corp".into()),
            0,
        );
        check(
            |config| config.proxy.base.public_url = Some("http://nuget.corp".into()),
            1,
        );
        check(
            |config| {
                let proxies = "10.0.0.0/8".parse().expect("a network");
                config.proxy.base.trusted_proxies = vec![proxies];
            },
            0,
        );
    }
}
