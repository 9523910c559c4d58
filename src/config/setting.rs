//! What a row of the table of settings is.

use super::Config;
use super::feeds::Shown;
use super::value::Value;

/// How many values a setting takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Arity {
    /// A list; its flag may be repeated.
    Many,
    One,
}

/// What becomes of another value of a setting while the process runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum OnReload {
    /// It is obeyed from the next request on.
    Obeyed,
    /// It is obeyed, unless the setting of this name, whose row stands above, waits for the next start: then it waits too.
    ObeyedUnless(&'static str),
    /// It waits for the next start.
    Restart,
}

/// One setting of the process.
#[derive(Debug)]
pub(super) struct Setting {
    /// The name in the file; flag and environment name are made from it.
    pub(super) name: &'static str,
    pub(super) on_reload: OnReload,
    pub(super) arity: Arity,
    pub(super) help: &'static str,
    /// Whether a report may repeat its value.
    pub(super) shown: Shown,
    pub(super) field: Field,
}

/// Where the value of a setting goes.
#[derive(Debug)]
pub(super) struct Field {
    /// Reads the value into its place; the error says what was expected.
    pub(super) put: fn(&mut Config, &Value) -> Result<(), String>,
    /// Whether two configurations have the same value.
    pub(super) same: fn(&Config, &Config) -> bool,
    /// The value in words, for one that is no secret.
    pub(super) text: fn(&Config) -> String,
    /// Takes the value of another configuration.
    pub(super) take: fn(&mut Config, &Config),
}

pub(super) const fn one(
    name: &'static str,
    on_reload: OnReload,
    help: &'static str,
    field: Field,
) -> Setting {
    Setting {
        name,
        on_reload,
        arity: Arity::One,
        help,
        shown: Shown::Yes,
        field,
    }
}

pub(super) const fn many(
    name: &'static str,
    on_reload: OnReload,
    help: &'static str,
    field: Field,
) -> Setting {
    Setting {
        name,
        on_reload,
        arity: Arity::Many,
        help,
        shown: Shown::Yes,
        field,
    }
}

/// A setting that may hold a secret.
pub(super) const fn secret(
    name: &'static str,
    on_reload: OnReload,
    help: &'static str,
    field: Field,
) -> Setting {
    Setting {
        shown: Shown::No,
        ..one(name, on_reload, help, field)
    }
}

/// The field that a setting fills, others that get the same value, and what reads a value into them.
macro_rules! fields {
    ($field:ident . $($more:ident).+ $(, $other:ident . $twin:ident)*; $put:expr) => {
        $crate::config::setting::Field {
            put: $put,
            same: |one, other| one.$field.$($more).+ == other.$field.$($more).+,
            text: |config| format!("{:?}", config.$field.$($more).+),
            take: |config, from| {
                config.$field.$($more).+.clone_from(&from.$field.$($more).+);
                $(config.$other.$twin.clone_from(&from.$other.$twin);)*
            },
        }
    };
}

/// Reads a value into a field and ends the entry of the table.
macro_rules! put {
    ($field:ident . $($more:ident).+ = $value:ident . $read:ident ( $($argument:expr),* )) => {
        fields!($field.$($more).+; |config: &mut Config, $value: &Value| {
            config.$field.$($more).+ = $value.$read($($argument),*)?.into();
            Ok(())
        })
    };
}

pub(super) use {fields, put};
