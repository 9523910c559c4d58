//! Data folders as earlier releases left them, `tests/data/store/<format>`: each is opened, read whole and written on.
//!
//! Each holds three bodies (`small`, marked and used; `large`, of more than a block; `confirmed`, whose row tells later times
//! than its trailer), an absence, a raised id and a raised version. Format 1 is that of release 0.1. A new format adds a
//! folder and a line here; none is ever changed.

use super::*;
use crate::store::marks::MarkKind;

const FORMATS: [&str; 1] = ["1"];

/// So many milliseconds after the clock of these folders began.
fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(START) + Duration::from_millis(millis)
}

fn opened_rig(format: &str) -> Rig {
    let rig = Rig::new();
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/store"));
    copy_folder(&fixtures.join(format), rig.path());
    rig
}

async fn check_bodies(store: &Store) {
    assert_eq!(body_of(store, &key("small")).await, "a small body");
    assert_eq!(body_of(store, &key("large")).await, noise(1, 6000));
    let confirmed = body_of(store, &key("confirmed")).await;
    assert_eq!(confirmed, "a confirmed body");
    let entry = found(store.lookup(&key("large")).await).entry;
    assert_eq!(entry.headers["content-type"], "application/zip");
    assert_eq!(entry.upstream_validator.etag.as_ref().unwrap(), "0x8DC");
    assert_eq!(
        (entry.status, &*entry.origin),
        (StatusCode::OK, "api.nuget.org")
    );
    assert_eq!(entry.fetched_at, at(10));
}

#[tokio::test(start_paused = true)]
async fn a_store_of_every_earlier_format_is_read_with_all_that_its_rows_tell() {
    for format in FORMATS {
        let rig = opened_rig(format);
        let store = rig.open_ready().await;
        check_bodies(&store).await;
        let confirmed = found(store.lookup(&key("confirmed")).await).entry;
        assert_eq!(
            (confirmed.validated_at, confirmed.epoch),
            (at(60_110), Epoch(9))
        );
        let gate = store.gate("nuget", Some("raised"));
        assert_eq!(gate.epoch, Epoch(START * 1_000_000 + 110_000));
        assert_eq!(gate.published_at, Some(at(110)));
        assert!(store.version_gate("nuget", "raised", "1.0.0") > Epoch(1));
        assert_eq!(
            store
                .mark_of(MarkKind::Withdrawn, &key("small"))
                .map(|mark| mark.since),
            Some(at(110))
        );
        let absence = store.absence(&key("absent")).await.unwrap();
        assert_eq!(
            (absence.status, absence.first_at),
            (StatusCode::NOT_FOUND, at(110))
        );
        let usage = store.usage();
        let told = (usage.adopted, usage.index_deaths, usage.quarantined);
        assert_eq!(told, (0, 0, 0), "{format}");
        assert_accounts(&store, rig.path());
    }
}

#[tokio::test(start_paused = true)]
async fn the_bodies_of_every_earlier_format_are_found_without_an_index() {
    for format in FORMATS {
        let rig = opened_rig(format);
        fs::remove_dir_all(rig.path().join("index-1")).unwrap();
        let store = rig.open_ready().await;
        check_bodies(&store).await;
        assert_accounts(&store, rig.path());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_of_every_earlier_format_is_written_on() {
    for format in FORMATS {
        let rig = opened_rig(format);
        let store = rig.open_ready().await;
        // As everybody does who asks for something anew; it may have been stored by a clock that was ahead.
        assert!(!is_absent(&store.lookup(&key("large")).await));
        put(&store, &key("large"), b"replaced").await;
        put(&store, &key("new"), b"new").await;
        settle(&store).await;
        store.close(Duration::from_secs(5)).await;
        let store = rig.open_ready().await;
        for (name, body) in [
            ("small", "a small body"),
            ("large", "replaced"),
            ("new", "new"),
        ] {
            assert_eq!(body_of(&store, &key(name)).await, body, "{format}");
        }
        assert_eq!(store.usage().adopted, 0, "{format}");
        assert_accounts(&store, rig.path());
    }
}
