//! The settings of the process that say which proxy lies between us and the upstreams.

use super::secrets::Place;
use super::setting::{Field, OnReload::Obeyed, Setting, fields, many, one, secret};
use super::ways::{self, Choice};

/// What the two settings that give the proxy's password share.
const PROXY_PASSWORD: Field = fields!(ways.password; |_, _| Ok(()));

/// The settings.
pub(super) const PROXIES: &[Setting] = &[
    secret(
        "proxy",
        Obeyed,
        "Proxy to the upstreams: \"environment\", \"off\" or a URL",
        fields!(ways.choice; |config, value| {
            config.ways.choice = Some(Choice::read(value)?);
            Ok(())
        }),
    ),
    one(
        "proxy_username",
        Obeyed,
        "User name for the proxy",
        fields!(ways.username; |config, value| {
            config.ways.username = Some(ways::username(value)?);
            Ok(())
        }),
    ),
    secret(
        "proxy_password",
        Obeyed,
        "Password for the proxy",
        Field {
            put: |config, value| {
                config.ways.password = Place::value(value)?;
                if value.text()?.contains(char::is_control) {
                    return Err("a secret on one line".to_owned());
                }
                Ok(())
            },
            same: |one, other| one.ways.password_value() == other.ways.password_value(),
            ..PROXY_PASSWORD
        },
    ),
    one(
        "proxy_password_file",
        Obeyed,
        "File that holds the password for the proxy",
        Field {
            put: |config, value| {
                config.ways.password = Place::file(value)?;
                Ok(())
            },
            same: |one, other| one.ways.password_file() == other.ways.password_file(),
            ..PROXY_PASSWORD
        },
    ),
    many(
        "no_proxy",
        Obeyed,
        "Upstreams that are asked directly all the same: names, addresses, ranges or \"*\"",
        fields!(ways.except; |config, value| {
            config.ways.except = Some(ways::exceptions(value)?);
            Ok(())
        }),
    ),
];
