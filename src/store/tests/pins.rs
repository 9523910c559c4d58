//! Pinned packages stay, whatever comes, across restarts and the loss of the index.

use super::*;

const CAP: u64 = 12 << 20;

fn capped() -> Rig {
    Rig::with(|settings| settings.max_store_bytes = Some(CAP))
}

fn pin(rig: &Rig, id: &str) {
    change(rig, |pins| assert!(pins.add(of_id(id))));
}

fn unpin(rig: &Rig, id: &str) {
    change(rig, |pins| assert!(pins.remove(&of_id(id))));
}

fn of_id(id: &str) -> Pin {
    Pin {
        id: id.to_owned(),
        version: None,
        feed: None,
    }
}

fn change(rig: &Rig, change: impl FnOnce(&mut Pins)) {
    let changed = Pins::file(rig.path()).change(|text| {
        let mut pins = Pins::read(&text.unwrap_or_else(|| "{\"pins\":[]}".to_owned()))?;
        change(&mut pins);
        Ok::<_, String>((pins.write(), ()))
    });
    changed.unwrap();
}

/// Stores `count` MiB that nobody asked for before.
async fn scan(store: &Store, from: u64, count: u64) {
    for n in from..from + count {
        put(store, &key(&n.to_string()), &noise(n, 1 << 20)).await;
        settle(store).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_pinned_outlives_a_scan_a_restart_and_the_index() {
    let rig = capped();
    let store = rig.open_ready().await;
    pin(&rig, "before");
    until(|| store.usage().index == IndexState::Ready).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    put(&store, &key("before"), &noise(1, 1 << 20)).await;
    put(&store, &key("after"), &noise(2, 1 << 20)).await;
    settle(&store).await;
    assert_eq!(store.usage().pinned, 1);
    pin(&rig, "after");
    until(|| store.usage().pinned == 2).await;
    assert!(store.usage().pinned_bytes >= 2 << 20);
    scan(&store, 0, 120).await;
    assert_eq!(body_of(&store, &key("before")).await, noise(1, 1 << 20));
    assert_eq!(body_of(&store, &key("after")).await, noise(2, 1 << 20));
    assert_accounts(&store, rig.path());
    store.close(Duration::from_secs(5)).await;
    for entry in fs::read_dir(rig.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("/index-") {
            fs::remove_dir_all(path).unwrap();
        }
    }
    let store = rig.open_ready().await;
    assert_eq!(store.usage().pinned, 2);
    scan(&store, 200, 30).await;
    assert_eq!(body_of(&store, &key("after")).await, noise(2, 1 << 20));
    // What is unpinned goes as anything else does.
    unpin(&rig, "after");
    until(|| store.usage().pinned == 1).await;
    let trimmed = store.trim(KeepUsedSince::Start, &Progress::default()).await;
    assert!(trimmed.feeds.contains_key("nuget"), "{trimmed:?}");
    assert!(is_absent(&store.lookup(&key("after")).await));
    assert_eq!(body_of(&store, &key("before")).await, noise(1, 1 << 20));
    settle(&store).await;
    assert_accounts(&store, rig.path());
}

#[tokio::test(start_paused = true)]
async fn pins_that_fill_the_store_leave_no_room_and_break_nothing() {
    let rig = capped();
    for n in 0..11 {
        fs::create_dir_all(rig.path()).unwrap();
        pin(&rig, &n.to_string());
    }
    let store = rig.open_ready().await;
    scan(&store, 0, 10).await;
    assert_eq!(store.usage().pinned, 10);
    let refused = store.begin(&key("other"), Some(2 << 20)).await;
    assert_eq!(refused.unwrap_err(), StoreFault::NoRoom);
    assert_eq!(store.usage().evictions, 0);
    // A trim leaves them, too.
    let progress = Progress::default();
    let trimmed = store.trim(KeepUsedSince::Ago(Duration::ZERO), &progress);
    assert_eq!(trimmed.await, Removed::default());
    // A purge takes them, says so, and the pins stay.
    let choice = Choice::everything(Scope::new(["nuget"], Some("3")));
    let removed = store.purge(&choice, &Progress::default()).await;
    assert_eq!((removed.feeds["nuget"].responses, removed.pinned), (1, 1));
    assert_eq!(store.usage().pinned, 9);
    put(&store, &key("3"), b"again").await;
    settle(&store).await;
    assert_eq!(store.usage().pinned, 10);
    assert_accounts(&store, rig.path());
}

#[tokio::test(start_paused = true)]
async fn a_file_of_pins_that_cannot_be_read_keeps_the_store_shut_and_changes_nothing_later() {
    let rig = capped();
    let store = rig.open_ready().await;
    put(&store, &key("a"), b"x").await;
    settle(&store).await;
    pin(&rig, "a");
    until(|| store.usage().pinned == 1).await;
    fs::write(rig.path().join("pins.json"), "nonsense").unwrap();
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(store.usage().pinned, 1);
    store.close(Duration::from_secs(5)).await;
    let refused = rig.try_open().await.unwrap_err().to_string();
    assert!(
        refused.contains("pins.json cannot be read: expected {"),
        "{refused}"
    );
    fs::remove_file(rig.path().join("pins.json")).unwrap();
    let store = rig.open_ready().await;
    assert_eq!(store.usage().pinned, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_a_feed_stays_until_the_feed_is_kept_no_more() {
    let rig = capped();
    let store = rig.open_ready().await;
    store.keep_feeds(["all"].into_iter());
    let kept = |n: u64| key_of("all", &n.to_string());
    for n in 0..3 {
        put(&store, &kept(n), &noise(n, 10_000)).await;
    }
    settle(&store).await;
    assert_eq!(store.usage().pinned, 3);
    scan(&store, 0, 60).await;
    assert_eq!(body_of(&store, &kept(2)).await, noise(2, 10_000));
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    store.keep_feeds(["all"].into_iter());
    until(|| store.usage().pinned == 3).await;
    scan(&store, 100, 60).await;
    assert_eq!(body_of(&store, &kept(0)).await, noise(0, 10_000));
    store.keep_feeds(std::iter::empty());
    until(|| store.usage().pinned == 0).await;
    store.trim(KeepUsedSince::Start, &Progress::default()).await;
    assert!(is_absent(&store.lookup(&kept(1)).await));
}
