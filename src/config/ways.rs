//! What lies between us and the upstreams: proxies from settings and from the environment, and our certificates.
//!
//! A feed's setting wins over the global one, that over the environment, whose names are those of curl: `http_proxy`,
//! `https_proxy`, `all_proxy` and `no_proxy`, lower case before upper case. It refuses to print the URL of a proxy, which
//! may hold a password.

use std::path::PathBuf;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::upstream::auth::Secret;
use crate::upstream::way::{BadProxy, Exceptions, ForwardProxy, Identity, Proxies};

use super::problem::{self, Problem};
use super::roots;
use super::secrets;
use super::sources::{Environment, Files};
use super::value::Value;

/// The settings of proxies, of one feed or of all.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) choice: Option<Choice>,
    pub(super) except: Option<Exceptions>,
    pub(super) password: Option<secrets::Place>,
    pub(super) username: Option<String>,
}

impl Draft {
    /// The password, where it stands among the settings themselves.
    pub(super) fn password_value(&self) -> Option<&secrets::Place> {
        let place = self.password.as_ref();
        place.filter(|place| matches!(place, secrets::Place::Value(_)))
    }

    /// Where the password is, if that is a file.
    pub(super) fn password_file(&self) -> Option<&secrets::Place> {
        let place = self.password.as_ref();
        place.filter(|place| matches!(place, secrets::Place::File(_)))
    }
}

/// Which proxy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Choice {
    /// What the environment says.
    Environment,
    Off,
    Proxy(ForwardProxy),
}

/// What was expected of a setting or variable.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The setting, or the environment variable.
    pub(super) at: At,
    pub(super) found: Option<String>,
    pub(super) expected: String,
}

/// Where something is wrong.
#[derive(Debug)]
pub(super) enum At {
    Setting(&'static str),
    Variable(String),
}

impl Wrong {
    /// As the problem of a feed or table that stands at `place`.
    pub(super) fn told(self, place: &problem::Place, whose: &str) -> Problem {
        let (place, setting) = match self.at {
            At::Setting(setting) => (place.clone(), format!("{whose}: {setting}")),
            At::Variable(name) => (problem::Place::Environment(name), "proxy".to_owned()),
        };
        Problem {
            place,
            setting,
            found: self.found,
            expected: self.expected,
        }
    }
}

impl Choice {
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        let found = match value.text() {
            Ok("environment") => Some(Self::Environment),
            Ok("off") => Some(Self::Off),
            Ok(text) => ForwardProxy::parse(text).map(Self::Proxy).ok(),
            Err(_) => None,
        };
        found.ok_or_else(|| format!("\"environment\", \"off\" or {BadProxy}"))
    }
}

/// A user name without a colon, which Basic cannot express.
pub(super) fn username(value: &Value) -> Result<String, String> {
    match value.text() {
        Ok(text) if !text.contains(|c: char| c == ':' || c.is_control()) => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err("a user name without \":\"".to_owned()),
    }
}

pub(super) fn exceptions(value: &Value) -> Result<Exceptions, String> {
    let items = match value {
        Value::List(items) if items.is_empty() => Vec::new(),
        Value::Integer(_) | Value::List(_) | Value::Other(_) | Value::Text(_) => value.list()?,
    };
    let is_odd = |item: &&&str| item.contains(|c: char| c.is_control() || c.is_whitespace());
    if let Some(odd) = items.iter().find(is_odd) {
        return Err(format!(
            "names, addresses and ranges such as \"corp.example\", \"10.0.0.0/8\" or \"*\", which {odd:?} is not"
        ));
    }
    Ok(Exceptions::parse(items))
}

/// The proxies of a feed.
pub(super) fn proxies(
    feed: &Draft,
    global: &Draft,
    environment: &Environment,
) -> Result<Proxies, Vec<Wrong>> {
    let of_environment = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| Some(((*name).to_owned(), environment.lookup(name)?)))
    };
    let except = feed.except.as_ref().or(global.except.as_ref()).cloned();
    let except = except.unwrap_or_else(|| {
        let list =
            of_environment(&["no_proxy", "NO_PROXY"]).map_or(String::new(), |(_, list)| list);
        Exceptions::parse(list.split(|c: char| c == ',' || c.is_whitespace()))
    });
    // The credential for one proxy is none for another.
    let own = feed.choice.is_some() || feed.username.is_some() || feed.password.is_some();
    let credential = credential(if own { feed } else { global }, environment)?;
    let told = |proxy: ForwardProxy| match &credential {
        None => Ok(proxy),
        Some((user, password)) => {
            let told = proxy.with_credential(user, password);
            told.map_err(|_| Wrong {
                at: At::Setting("proxy_password"),
                found: None,
                expected: "characters that a header can carry".to_owned(),
            })
        }
    };
    let read = |names: &[&str]| match of_environment(names) {
        None => Ok(None),
        Some((name, text)) => match ForwardProxy::parse(&text) {
            Ok(proxy) => told(proxy).map(Some),
            Err(expected) => Err(Wrong {
                at: At::Variable(name),
                found: None,
                expected: format!("{expected}, or the setting proxy = \"off\""),
            }),
        },
    };
    let (http, https) = match feed.choice.as_ref().or(global.choice.as_ref()) {
        Some(Choice::Off) => (Ok(None), Ok(None)),
        Some(Choice::Proxy(proxy)) => {
            (told(proxy.clone()).map(Some), told(proxy.clone()).map(Some))
        }
        Some(Choice::Environment) | None => (
            read(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            read(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
        ),
    };
    match (http, https) {
        (Ok(http), Ok(https)) => Ok(Proxies {
            http,
            https,
            except,
        }),
        (http, https) => Err([http.err(), https.err()].into_iter().flatten().collect()),
    }
}

fn credential(
    draft: &Draft,
    environment: &Environment,
) -> Result<Option<(String, String)>, Vec<Wrong>> {
    let wrong = |found, expected: String| {
        vec![Wrong {
            at: At::Setting("proxy_password"),
            found,
            expected,
        }]
    };
    let secret = draft.password.as_ref().map(|place| place.read(environment));
    let secret = secret
        .transpose()
        .map_err(|(found, expected)| wrong(found, expected))?;
    match (&draft.username, secret) {
        (None, None) => Ok(None),
        (Some(user), Some(Secret::File { value, .. } | Secret::Value(value))) => {
            Ok(Some((user.clone(), value)))
        }
        (Some(_), Some(Secret::Command(_)) | None) | (None, Some(_)) => Err(wrong(
            None,
            "proxy_username and proxy_password, both".to_owned(),
        )),
    }
}

/// Longest PEM file of a key.
const MAX_KEY_BYTES: usize = 64 << 10;

/// Our certificate, from the PEM files of its chain and of its key, which may be one file.
pub(super) fn identity(
    chain: Option<&PathBuf>,
    key: Option<&PathBuf>,
) -> Result<Option<Identity>, Wrong> {
    let wrong = |setting, path: Option<&PathBuf>, expected: String| Wrong {
        at: At::Setting(setting),
        found: path.map(|path| path.display().to_string()),
        expected,
    };
    let (cert_setting, key_setting) = ("client_cert_file", "client_key_file");
    let (chain, key) = match (chain, key) {
        (None, None) => return Ok(None),
        (Some(chain), key) => (chain, key.unwrap_or(chain)),
        (None, Some(_)) => {
            let expected = "client_cert_file besides client_key_file".to_owned();
            return Err(wrong(cert_setting, None, expected));
        }
    };
    let certificates =
        roots::read_file(chain).map_err(|expected| wrong(cert_setting, Some(chain), expected))?;
    let text = Files
        .read(key, MAX_KEY_BYTES)
        .map_err(|error| wrong(key_setting, Some(key), format!("a readable file ({error})")))?;
    let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| {
        let expected = format!("a PEM file with a private key without a password ({error})");
        wrong(key_setting, Some(key), expected)
    })?;
    Identity::new(certificates, der).map(Some).map_err(|error| {
        wrong(
            key_setting,
            Some(key),
            format!("the key of the certificate ({error})"),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::{Arguments, Problems, load};
    use crate::upstream::WaySettings;

    fn ways(file: &str, variables: &[(&str, &str)]) -> Result<WaySettings, Problems> {
        let file = [("SLUICE_CONFIG_TOML", file)];
        let all = file.iter().chain(variables);
        let environment = all.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let environment = Environment::new(environment);
        let mut config = load(&Arguments::default(), &environment)?;
        Ok(config.proxy.feeds.remove(0).ways)
    }

    /// The proxies for http and https, and whether a.corp.test is an exception.
    #[track_caller]
    fn check(file: &str, variables: &[(&str, &str)], expected: (&str, &str, bool)) {
        let Proxies {
            http,
            https,
            except,
        } = ways(file, variables).unwrap().proxies;
        let shown = |proxy: Option<ForwardProxy>| {
            proxy.map_or(String::new(), |proxy| proxy.origin().to_string())
        };
        let excepted = except != Exceptions::default();
        let found = (shown(http), shown(https), excepted);
        assert_eq!(
            (&*found.0, &*found.1, found.2),
            expected,
            "{file} {variables:?}"
        );
    }

    const FEED: &str = "[[feed]]\nname = \"a\"\nupstream = \"https://a.test/index.json\"\n";

    #[test]
    fn a_feeds_setting_wins_over_the_global_one_and_that_over_the_environment() {
        let variables = [
            ("http_proxy", "http://lower.test"),
            ("HTTP_PROXY", "http://upper.test"),
            ("ALL_PROXY", "http://all.test"),
            ("NO_PROXY", "corp.test, x"),
        ];
        check("", &[], ("", "", false));
        check(
            "",
            &variables,
            ("http://lower.test", "http://all.test", true),
        );
        check(
            "",
            &variables[1..],
            ("http://upper.test", "http://all.test", true),
        );
        check(
            "",
            &[("HTTPS_PROXY", "t.test:3128")],
            ("", "http://t.test:3128", false),
        );
        let set = "http://set.test";
        check("proxy = \"http://set.test\"", &variables, (set, set, true));
        check("proxy = \"off\"", &variables, ("", "", true));
        check(
            "no_proxy = []",
            &variables,
            ("http://lower.test", "http://all.test", false),
        );
        let own = |lines: &str| format!("proxy = \"http://set.test\"\n{FEED}{lines}");
        check(&own(""), &variables, (set, set, true));
        check(&own("proxy = \"off\""), &variables, ("", "", true));
        let feed = "https://feed.test";
        check(
            &own("proxy = \"https://feed.test\""),
            &variables,
            (feed, feed, true),
        );
        check(&own("no_proxy = \"y\""), &[], (set, set, true));
        check(
            &own("proxy = \"environment\""),
            &variables,
            ("http://lower.test", "http://all.test", true),
        );
    }

    #[test]
    fn the_credential_of_one_proxy_is_none_of_another() {
        let global =
            "proxy = \"http://set.test\"\nproxy_username = \"u\"\nproxy_password = \"p\"\n";
        let told = |file: &str| {
            let ways = ways(file, &[]).unwrap();
            ways.proxies.https.unwrap()
        };
        let plain = ForwardProxy::parse("http://set.test").unwrap();
        let with = plain.with_credential("u", "p").unwrap();
        assert_eq!(told(global), with);
        assert_eq!(told("proxy = \"http://u:p@set.test\""), with);
        assert_eq!(told(&format!("{global}{FEED}")), with);
        let other = told(&format!("{global}{FEED}proxy = \"http://set.test\""));
        assert_eq!(other, plain);
        let own = "proxy_username = \"u\"\nproxy_password_env = \"NAME\"";
        let ways = ways(
            &format!("{FEED}proxy = \"http://set.test\"\n{own}"),
            &[("NAME", "p")],
        );
        assert_eq!(ways.unwrap().proxies.https, Some(with));
    }

    #[test]
    fn wrong_proxies_are_told_without_their_passwords() {
        for (file, variables, expected) in [
            (
                "proxy = \"ftp://u:hunter2@x\"",
                &[][..],
                "SLUICE_CONFIG_TOML:1: proxy: expected",
            ),
            (
                "",
                &[("ALL_PROXY", "socks5://u:hunter2@x")],
                "environment variable ALL_PROXY: proxy: expected an http or https URL",
            ),
            (
                "proxy_username = \"u\"",
                &[],
                "proxy_username and proxy_password, both",
            ),
            (
                "proxy_password = \"hunter2\"",
                &[],
                "proxy_username and proxy_password, both",
            ),
            (
                "no_proxy = [\"a b\"]",
                &[],
                "no_proxy is \"a b\": expected names, addresses",
            ),
        ] {
            let problems = ways(file, variables).unwrap_err().to_string();
            assert!(problems.contains(expected), "{problems}");
            assert!(!problems.contains("hunter2"), "{problems}");
        }
        // What is not used is not complained of.
        check(
            "proxy = \"off\"",
            &[("ALL_PROXY", "socks5://x")],
            ("", "", false),
        );
    }

    #[test]
    fn a_certificate_is_read_with_its_key_at_start() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let made = rcgen::generate_simple_self_signed(["us.test".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["us.test".to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let cert = write("cert.pem", &chain);
        let key_file = write("key.pem", &key);
        let both = write("both.pem", &format!("{chain}{key}"));
        let wrong = write("wrong.pem", &other.signing_key.serialize_pem());
        let good = |lines: String| {
            let ways = ways(&format!("{FEED}{lines}"), &[]).unwrap();
            ways.identity.is_some()
        };
        assert!(good(format!(
            "client_cert_file = {cert:?}\nclient_key_file = {key_file:?}"
        )));
        assert!(good(format!("client_cert_file = {both:?}")));
        assert!(!good(String::new()));
        for (lines, expected) in [
            (
                format!("client_key_file = {key_file:?}"),
                "client_cert_file besides",
            ),
            (
                format!("client_cert_file = {cert:?}"),
                "a PEM file with a private key",
            ),
            (
                format!("client_cert_file = {cert:?}\nclient_key_file = {wrong:?}"),
                "the key of the certificate",
            ),
            (
                "client_cert_file = \"/nowhere\"".to_owned(),
                "a readable file",
            ),
        ] {
            let problems = ways(&format!("{FEED}{lines}"), &[])
                .unwrap_err()
                .to_string();
            assert!(problems.contains(expected), "{problems}");
        }
    }
}
