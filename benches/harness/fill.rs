//! A data folder with as many packages as are wanted, written by the library's own store.

use super::stock::package;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use sluice::cache::entry::UpstreamValidator;
use sluice::cache::key::{Key, Parts};
use sluice::clock::Clock;
use sluice::store::{Draft, IndexState, Settings, Store};
use sluice::tasks::Tasks;
use std::path::Path;
use std::time::Duration;

/// Writers at once: enough that they share each sync of the disk's journal.
const WRITERS: usize = 64;

/// The package of this number.
pub(crate) fn package_of(number: usize) -> Vec<u8> {
    package(&name(number), "1.0.0", &number.to_le_bytes())
}

/// Its path below `/v3/flatcontainer/`.
pub(crate) fn path_of(number: usize) -> String {
    let name = name(number);
    format!("{name}/1.0.0/{name}.1.0.0.nupkg")
}

fn name(number: usize) -> String {
    format!("fill.p{number}")
}

/// Stores the packages `0..entries` of a feed.
///
/// # Panics
/// If the store does not take them.
pub(crate) fn fill(data: &Path, feed: &'static str, entries: usize) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let settings = Settings {
        data_dir: data.to_path_buf(),
        max_store_bytes: Some(1 << 40),
        min_free_bytes: 0,
        ballast_bytes: 0,
        ..Settings::default()
    };
    runtime.block_on(async {
        let store = Store::open(settings, Clock::system(), Tasks::new()).await;
        let store = store.expect("the folder is ours");
        while store.usage().index != IndexState::Ready {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    for number in (writer..entries).step_by(WRITERS) {
                        put(&store, feed, number).await;
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.expect("a writer does not panic");
        }
        while store.usage().pending_entries > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(store.usage().entries, entries, "all are stored");
        store.close(Duration::from_secs(30)).await;
    });
}

async fn put(store: &Store, feed: &str, number: usize) {
    let name = name(number);
    let key = Key::new(&Parts {
        feed,
        id: Some(&name),
        class: "package",
        rest: "1.0.0",
        ..Parts::default()
    });
    let body = package_of(number);
    let writer = store.begin(&key, Some(body.len() as u64)).await;
    let mut writer = writer.expect("there is room");
    writer
        .write(Bytes::from(body))
        .await
        .expect("it is written");
    let mut headers = HeaderMap::new();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(http::header::CONTENT_TYPE, kind);
    let now = Clock::system().now();
    let _ = writer.publish(Draft {
        epoch: store.gate(feed, None).epoch,
        status: StatusCode::OK,
        headers,
        upstream_validator: UpstreamValidator::default(),
        origin: "127.0.0.1".to_owned(),
        fetched_at: now,
        validated_at: now,
    });
}
