//! Lowers limits to what the machine allows.
//!
//! The limit of open files is known only at start. (The store fits its own limits, of memory and open bodies.) It refuses
//! to raise anything: a setting below what the machine allows stays as it is.

use super::Config;

/// Share of the open files that client connections may take; as many are for those that wait to be served. A quarter is
/// for stored bodies, and a quarter is left for connections to upstreams, the index and the log.
const CONNECTION_SHARE: u64 = 4;

/// Lowers limits to what `max_open_files` allows and says in words what was lowered.
pub fn fit(config: &mut Config, max_open_files: Option<u64>) -> Vec<String> {
    let Some(files) = max_open_files else {
        return Vec::new();
    };
    let share = usize::try_from(files / CONNECTION_SHARE).unwrap_or(usize::MAX);
    let connections = share.max(1);
    if config.server.max_connections <= connections {
        return Vec::new();
    }
    config.server.max_connections = connections;
    vec![format!(
        "max_connections lowered to {connections}: the limit of open files is {files}"
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(configured: usize, files: Option<u64>, expected: usize) {
        let mut config = Config::default();
        config.server.max_connections = configured;
        let notes = fit(&mut config, files);
        assert_eq!(config.server.max_connections, expected);
        assert_eq!(notes.is_empty(), configured == expected, "{notes:?}");
    }

    #[test]
    fn connections_take_a_quarter_of_the_open_files() {
        check(4096, Some(1 << 20), 4096);
        check(4096, Some(16_384), 4096);
        check(4096, Some(1024), 256);
        check(5, Some(1024), 5);
        check(4096, Some(0), 1);
        check(4096, None, 4096);
    }
}
