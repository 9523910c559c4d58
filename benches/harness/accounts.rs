//! What a running Sluice says it has stored, against what the disk says.

use super::folder::{disk, names_in};
use super::sluice::Sluice;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the two may take to agree: a store counts behind its first answers.
const COUNT_LIMIT: Duration = Duration::from_secs(60);

/// Waits until the store's accounts equal the disk, with nothing under way; says how they differ if they go on to.
///
/// # Panics
/// If the admin listener does not answer.
pub(crate) fn difference(sluice: &Sluice, data: &Path) -> Option<String> {
    let until = Instant::now() + COUNT_LIMIT;
    loop {
        let metrics = sluice.metrics().expect("the admin listener answers");
        let value = |name: &str| metrics.get(name).copied().unwrap_or(u64::MAX);
        let counted = (
            value("sluice_store_body_bytes"),
            value("sluice_store_entries"),
        );
        let held = (
            value("sluice_store_reserved_bytes"),
            value("sluice_store_lingering_bytes"),
        );
        let (disk, temporary) = (disk(data), names_in(&data.join("tmp")));
        if counted == (disk.bytes, disk.files) && held == (0, 0) && temporary.is_empty() {
            return None;
        }
        if Instant::now() > until {
            return Some(format!(
                "counted {counted:?}, held and lingering {held:?}; on the disk {disk:?}, in tmp {temporary:?}"
            ));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
