//! The setting of the scrub, which reads what is stored behind all requests.

use std::time::Duration;

use super::setting::{OnReload::Obeyed, Setting, fields, one};

const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// The setting.
pub(super) const SETTINGS: &[Setting] = &[one(
    "scrub_every",
    Obeyed,
    "Time within which every stored body is read and checked once, or \"off\"",
    fields!(store.scrub_every; |config, value| {
        config.store.scrub_every = match value.text() {
            Ok("off") => None,
            Ok(_) | Err(_) => Some(
                value
                    .duration(HOUR..=YEAR)
                    .map_err(|expected| format!("\"off\" or {expected}"))?,
            ),
        };
        Ok(())
    }),
)];
