//! What is purged is gone for good, what was begun before included; what is trimmed is what nobody used.

use super::*;
use crate::cache::entry::Absence;

fn named(id: &'static str) -> Choice {
    Choice::everything(Scope::default()).named(move |key| key.id() == Some(id))
}

async fn purge(store: &Store, choice: &Choice) -> Removed {
    store.purge(choice, &Progress::default()).await
}

async fn trim(store: &Store, keep: KeepUsedSince) -> u64 {
    let removed = store.trim(keep, &Progress::default()).await;
    removed.feeds.values().map(|tally| tally.responses).sum()
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_before_a_purge_is_not_stored_after_it() {
    let rig = Rig::new();
    let store = rig.open_ready().await;
    let write = async |id: &str| {
        let mut writer = store.begin(&key(id), Some(1)).await.unwrap();
        writer.write(Bytes::from_static(b"x")).await.unwrap();
        writer
    };
    let (before, other) = (write("a").await, write("b").await);
    // Whole, and on its way to its name.
    let shown = write("a").await.publish(draft(&store));
    purge(&store, &named("a")).await;
    let late = before.publish(draft(&store));
    let _ = other.publish(draft(&store));
    settle(&store).await;
    assert!(is_absent(&store.lookup(&key("a")).await));
    assert_eq!(body_of(&store, &key("b")).await, "x");
    // Whoever reads them goes on.
    assert_eq!(shown.body.read_all().await.unwrap(), "x");
    assert_eq!(late.body.read_all().await.unwrap(), "x");
    // What is begun after it is stored.
    let _ = write("a").await.publish(draft(&store));
    settle(&store).await;
    assert_eq!(body_of(&store, &key("a")).await, "x");
    drop((shown, late));
    let tmp = rig.path().join("tmp");
    until(|| fs::read_dir(&tmp).unwrap().count() == 0).await;
    assert_accounts(&store, rig.path());
}

#[tokio::test(start_paused = true)]
async fn a_purge_says_what_went_of_which_feed_and_survives_a_restart() {
    let rig = Rig::new();
    let store = rig.open_ready().await;
    for feed in ["nuget", "corp"] {
        put(&store, &key_of(feed, "a"), &noise(1, 100_000)).await;
        put(&store, &key_of(feed, "b"), &noise(2, 100)).await;
    }
    settle(&store).await;
    let sizes = store.usage().body_bytes;
    let removed = purge(&store, &named("a")).await;
    let feeds: Vec<&str> = removed.feeds.keys().map(String::as_str).collect();
    assert_eq!(feeds, ["corp", "nuget"]);
    let freed: u64 = removed.feeds.values().map(|tally| tally.bytes).sum();
    assert_eq!(freed, sizes - store.usage().body_bytes);
    assert!(freed >= 200_000);
    assert_accounts(&store, rig.path());
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    assert!(is_absent(&store.lookup(&key("a")).await));
    assert_eq!(body_of(&store, &key("b")).await, noise(2, 100));
}

#[tokio::test(start_paused = true)]
async fn ages_are_those_of_the_rows() {
    let rig = Rig::new();
    let store = rig.open_ready().await;
    for id in ["old", "confirmed"] {
        put(&store, &key(id), b"x").await;
    }
    let now = rig.clock.now();
    store.put_absence(&key("none"), absent(now));
    let later = now + Duration::from_secs(100);
    let stored = found(store.lookup(&key("confirmed")).await);
    store.refresh(&stored, later, Epoch(9), None);
    store.put_absence(&key("lately"), absent(later));
    settle(&store).await;
    drop(stored);
    // What memory holds is not asked for again.
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    let aged = Choice::everything(Scope::default()).aged(move |kept| match kept {
        Kept::Absence(_, absence) => absence.last_at <= now,
        Kept::Entry(entry) => entry.validated_at <= now,
    });
    assert_eq!(store.ids(&aged).await.len(), 2);
    let removed = purge(&store, &aged).await;
    assert_eq!((removed.feeds["nuget"].responses, removed.absences), (1, 1));
    assert!(is_absent(&store.lookup(&key("old")).await));
    assert_eq!(body_of(&store, &key("confirmed")).await, "x");
    assert!(store.absence(&key("none")).await.is_none());
    assert!(store.absence(&key("lately")).await.is_some());
}

fn absent(at: SystemTime) -> Absence {
    Absence {
        status: StatusCode::NOT_FOUND,
        epoch: Epoch(1),
        first_at: at,
        last_at: at,
    }
}

#[tokio::test(start_paused = true)]
async fn what_this_process_did_not_use_is_trimmed() {
    let rig = Rig::new();
    let store = rig.open_ready().await;
    for id in ["used", "unused"] {
        put(&store, &key(id), b"x").await;
    }
    settle(&store).await;
    assert_eq!(trim(&store, KeepUsedSince::Start).await, 0);
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    put(&store, &key("new"), b"x").await;
    store.note_use(&key("used"));
    settle(&store).await;
    assert_eq!(trim(&store, KeepUsedSince::Start).await, 1);
    assert!(is_absent(&store.lookup(&key("unused")).await));
    assert_eq!(store.usage().entries, 2);
    assert_eq!(store.usage().evictions, 0);
    assert_accounts(&store, rig.path());
}

#[tokio::test(start_paused = true)]
async fn what_was_not_used_within_a_time_is_trimmed_after_a_restart_too() {
    let rig = Rig::new();
    let store = rig.open_ready().await;
    for id in ["used", "unused"] {
        put(&store, &key(id), b"x").await;
    }
    settle(&store).await;
    let day = Duration::from_secs(86_400);
    tokio::time::sleep(10 * day).await;
    store.note_use(&key("used"));
    store.close(Duration::from_secs(5)).await;
    // The file system knows when a body was written by a clock of its own.
    for folder in fs::read_dir(rig.path().join("bodies")).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let file = File::options()
                .write(true)
                .open(file.unwrap().path())
                .unwrap();
            let written = SystemTime::UNIX_EPOCH + Duration::from_secs(START);
            file.set_modified(written).unwrap();
        }
    }
    let store = rig.open_ready().await;
    assert_eq!(trim(&store, KeepUsedSince::Ago(30 * day)).await, 0);
    assert_eq!(trim(&store, KeepUsedSince::Ago(day)).await, 1);
    assert_eq!(body_of(&store, &key("used")).await, "x");
    assert!(is_absent(&store.lookup(&key("unused")).await));
}
