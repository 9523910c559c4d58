//! What settings say of users: their file and their names.

use std::path::Path;

use super::sources::Files;
use super::value::Value;
use crate::access::users::Users;

/// Longest file of users: a hundred thousand take a tenth of it.
const MAX_USERS_BYTES: usize = 64 << 20;
/// How many wrong lines a report names.
const MAX_SHOWN: usize = 10;

/// Whether a file of users can be obeyed; the error says what was expected of it.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let text = Files
        .read(path, MAX_USERS_BYTES)
        .map_err(|error| format!("a readable file ({error})"))?;
    let Err(bad) = Users::read(&text) else {
        return Ok(());
    };
    let shown: Vec<String> = bad
        .iter()
        .take(MAX_SHOWN)
        .map(ToString::to_string)
        .collect();
    let more = if bad.len() > MAX_SHOWN { "; …" } else { "" };
    Err(format!("a file of users ({}{more})", shown.join("; ")))
}

/// Names of users.
pub(super) fn names(value: &Value) -> Result<Vec<String>, String> {
    let list = value.list().map_err(|_| "a list of users' names")?;
    Ok(list.into_iter().map(str::to_owned).collect())
}
