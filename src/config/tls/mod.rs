//! Settings of TLS towards clients, and whether the files that they name make a pair.
//!
//! The pair is read and checked here, with every other setting, so that a wrong one is a start-up error. It refuses to
//! show the password.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use crate::server::tls::{self, Password};

use super::Config;
use super::problem::{Place, Problem, Problems};
use super::setting::{
    Field, OnReload::ObeyedUnless, OnReload::Restart, Setting, fields, many, one, put, secret,
};
use super::sources::Environment;
use super::value::Value;

/// Where TLS begins or ends with the next start, so does its certificate.
const LISTEN: &str = "tls_listen";

/// The settings.
pub(super) const SETTINGS: &[Setting] = &[
    many(
        LISTEN,
        Restart,
        "Address to serve clients on over TLS",
        put!(server.tls.listen = value.addresses()),
    ),
    one(
        "tls_certificate",
        ObeyedUnless(LISTEN),
        "PEM file with the certificate and its intermediates",
        put!(server.tls.certificate = value.path()),
    ),
    one(
        "tls_key",
        ObeyedUnless(LISTEN),
        "PEM file with the certificate's private key",
        put!(server.tls.key = value.path()),
    ),
    one(
        "tls_pkcs12",
        ObeyedUnless(LISTEN),
        "PKCS#12 file with certificate and key, instead of the two",
        put!(server.tls.pkcs12 = value.path()),
    ),
    secret(
        "tls_pkcs12_password",
        ObeyedUnless(LISTEN),
        "Password of the PKCS#12 file",
        Field {
            put: |config, value| put_password(config, Password::Value(value.text()?.to_owned())),
            same: |one, other| value_of(one) == value_of(other),
            text: |_| String::new(),
            take: take_password,
        },
    ),
    one(
        "tls_pkcs12_password_file",
        ObeyedUnless(LISTEN),
        "File with that password",
        Field {
            put: |config, value| put_password(config, Password::File(value.path()?)),
            same: |one, other| file_of(one) == file_of(other),
            text: |config| format!("{:?}", file_of(config)),
            take: take_password,
        },
    ),
    one(
        "tls_pkcs12_password_env",
        ObeyedUnless(LISTEN),
        "Environment variable with that password",
        Field {
            put: |config, value| put_password(config, environment_name(value)?),
            same: |one, other| variable_of(one) == variable_of(other),
            text: |config| format!("{:?}", variable_of(config)),
            take: take_password,
        },
    ),
    one(
        "tls_handshake_timeout",
        Restart,
        "Longest TLS handshake of a client",
        put!(server.tls.handshake_timeout = value.duration(MIN_HANDSHAKE..=MAX_HANDSHAKE)),
    ),
    one(
        "max_streams",
        Restart,
        "Requests at once on one HTTP/2 connection",
        fields!(server.max_streams; |config, value| {
            let streams = value.count(1..=10_000)?;
            config.server.max_streams = u32::try_from(streams).unwrap_or(u32::MAX);
            Ok(())
        }),
    ),
    one(
        "max_reset_streams",
        Restart,
        "Requests of an HTTP/2 connection that were reset and are not settled; more end it",
        put!(server.max_reset_streams = value.count(1..=10_000)),
    ),
];

const MIN_HANDSHAKE: Duration = Duration::from_millis(100);
const MAX_HANDSHAKE: Duration = Duration::from_secs(300);

/// The later of two sources replaces the earlier, whatever its form.
fn put_password(config: &mut Config, password: Password) -> Result<(), String> {
    config.server.tls.pkcs12_password = Some(password);
    Ok(())
}

fn take_password(config: &mut Config, from: &Config) {
    let password = &from.server.tls.pkcs12_password;
    config.server.tls.pkcs12_password.clone_from(password);
}

fn value_of(config: &Config) -> Option<&str> {
    match config.server.tls.pkcs12_password.as_ref()? {
        Password::Value(value) => Some(value),
        Password::Environment { .. } | Password::File(_) => None,
    }
}

fn file_of(config: &Config) -> Option<&Path> {
    config.server.tls.pkcs12_password.as_ref()?.file()
}

fn variable_of(config: &Config) -> Option<&str> {
    match config.server.tls.pkcs12_password.as_ref()? {
        Password::Environment { name, .. } => Some(name),
        Password::File(_) | Password::Value(_) => None,
    }
}

fn environment_name(value: &Value) -> Result<Password, String> {
    match value.text() {
        Ok(name) => Ok(Password::Environment {
            name: name.to_owned(),
            value: None,
        }),
        Err(_) => Err("the name of an environment variable".to_owned()),
    }
}

/// Settings that mean nothing without `tls_listen`.
const DEPENDENT: [&str; 3] = ["tls_certificate", "tls_key", "tls_pkcs12"];

/// The settings through which a password comes.
const PASSWORDS: [&str; 3] = [
    "tls_pkcs12_password",
    "tls_pkcs12_password_file",
    "tls_pkcs12_password_env",
];

/// Checks the settings as a whole and the files that they name.
pub(super) fn check(
    config: &mut Config,
    places: &HashMap<&'static str, Place>,
    environment: &Environment,
    problems: &mut Problems,
) {
    let settings = &mut config.server.tls;
    if let Some(Password::Environment { name, value }) = &mut settings.pkcs12_password {
        *value = environment.lookup(name);
    }
    let given = |names: &[&'static str]| {
        let mut given = names
            .iter()
            .filter_map(|name| Some((*name, places.get(name)?)));
        given.next().map(|(name, place)| (name, place.clone()))
    };
    let mut missing = |(setting, place): (&str, Place), expected: &str| {
        problems.push(Problem {
            place,
            setting: setting.to_owned(),
            found: None,
            expected: expected.to_owned(),
        });
    };
    if let Some(password) = given(&PASSWORDS).filter(|_| settings.pkcs12.is_none()) {
        missing(password, "tls_pkcs12, which it opens");
    }
    if settings.listen.is_empty() {
        let off = config.server.listen.as_ref().is_some_and(Vec::is_empty);
        if let Some(listen) = given(&["listen"]).filter(|_| off) {
            missing(listen, "addresses, or tls_listen with some");
        }
        if let Some(dependent) = given(&DEPENDENT) {
            missing(dependent, "tls_listen, the addresses to serve TLS on");
        } else {
            return;
        }
    }
    for fault in tls::load_now(settings).err().into_iter().flatten() {
        let place = places
            .get(fault.setting)
            .cloned()
            .or_else(|| {
                let is_of_password = PASSWORDS.contains(&fault.setting);
                let related: &[_] = if is_of_password {
                    &PASSWORDS
                } else {
                    &DEPENDENT
                };
                given(related).map(|(_, place)| place)
            })
            .unwrap_or(Place::Nowhere);
        problems.push(Problem {
            place,
            setting: fault.setting.to_owned(),
            found: fault.found,
            expected: fault.expected,
        });
    }
}

#[cfg(test)]
mod tests;
