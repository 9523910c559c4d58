//! A disk without room for the index: rows wait, nobody else does, and what died for want of room is replaced.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const FULL: Fault = Fault::Io(ErrorKind::StorageFull);
const ROOMY: u64 = 1 << 30;

/// A store on a disk whose free bytes the test sets.
async fn on_a_disk(free: &Arc<AtomicU64>) -> (Rig, Store) {
    let told = Arc::clone(free);
    let probe = Probe::new(|_| None).with_free_space(move || told.load(Ordering::SeqCst));
    let rig = Rig::with(|settings| {
        settings.probe = Some(probe);
        settings.max_open_bodies = Some(64);
    });
    let store = rig.open_ready().await;
    (rig, store)
}

#[tokio::test(start_paused = true)]
async fn rows_wait_for_room_and_no_request_waits_with_them() {
    let free = Arc::new(AtomicU64::new(ROOMY));
    let (rig, store) = on_a_disk(&free).await;
    // So that none of it can go for the index.
    store.keep_feeds(["nuget"].into_iter());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let bodies: Vec<Key> = (0..64).map(|number| key(&number.to_string())).collect();
    let mut writers = Vec::new();
    for key in &bodies {
        writers.push(store.begin(key, Some(5)).await.unwrap());
    }
    free.store(1 << 20, Ordering::SeqCst);
    for mut writer in writers {
        writer.write("bytes".into()).await.unwrap();
        let _ = writer.publish(draft(&store));
    }
    let epoch = store.raise("nuget", Some("x"), Raise::Publish);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(store.usage().pending_rows > 64);
    assert_eq!(store.usage().index, IndexState::Ready);
    let before = rig.clock.instant();
    let refused = store.begin(&key("more"), Some(5)).await;
    assert_eq!(refused.unwrap_err(), StoreFault::NoRoom);
    for key in &bodies {
        assert_eq!(body_of(&store, key).await, "bytes");
    }
    assert!(before.elapsed() < Duration::from_millis(100));
    free.store(ROOMY, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(6)).await;
    settle(&store).await;
    assert_eq!(store.usage().index_deaths, 0);
    put(&store, &key("more"), b"more").await;
    settle(&store).await;
    assert_accounts(&store, rig.path());
    store.close(Duration::from_secs(5)).await;
    let again = rig.open_ready().await;
    assert_eq!(again.gate("nuget", Some("x")).epoch, epoch);
    assert_eq!(again.usage().adopted, 0);
}

#[tokio::test(start_paused = true)]
async fn bodies_go_for_the_index() {
    let free = Arc::new(AtomicU64::new(ROOMY));
    let (_rig, store) = on_a_disk(&free).await;
    for number in 0..8_u64 {
        put(&store, &key(&number.to_string()), &noise(number, 1 << 20)).await;
    }
    settle(&store).await;
    free.store((4 << 20) - 1, Ordering::SeqCst);
    store.raise("nuget", Some("x"), Raise::Publish);
    until(|| store.usage().evictions > 0).await;
    free.store(ROOMY, Ordering::SeqCst);
    settle(&store).await;
    assert!(store.usage().entries > 0);
    assert_eq!(store.usage().index_deaths, 0);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_room_at_the_end_delays_it_not() {
    let free = Arc::new(AtomicU64::new(ROOMY));
    let (rig, store) = on_a_disk(&free).await;
    put(&store, &key("a"), b"bytes").await;
    settle(&store).await;
    store.keep_feeds(["nuget"].into_iter());
    tokio::time::sleep(Duration::from_secs(1)).await;
    free.store(0, Ordering::SeqCst);
    store.raise("nuget", Some("x"), Raise::Publish);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = rig.clock.instant();
    store.shared.io.tasks.begin_drain();
    until(|| store.shared.is_ending()).await;
    assert!(before.elapsed() < Duration::from_secs(1));
    store.close(Duration::from_secs(5)).await;
    assert!(before.elapsed() < Duration::from_secs(1));
    free.store(ROOMY, Ordering::SeqCst);
    let again = rig.open_ready().await;
    assert_eq!(body_of(&again, &key("a")).await, "bytes");
}

#[tokio::test(start_paused = true)]
async fn an_index_without_room_to_open_is_tried_again() {
    let (rig, saboteur) = sabotaged();
    saboteur.put(Step::IndexOpen, FULL);
    let store = rig.open().await;
    put(&store, &key("a"), b"bytes").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(body_of(&store, &key("a")).await, "bytes");
    assert_eq!(store.usage().index, IndexState::Opening);
    saboteur.stop();
    tokio::time::sleep(Duration::from_secs(6)).await;
    settle(&store).await;
    let usage = store.usage();
    assert_eq!((usage.index, usage.index_deaths), (IndexState::Ready, 0));
    assert_accounts(&store, rig.path());
}

#[tokio::test(start_paused = true)]
async fn an_index_that_runs_out_of_room_again_and_again_is_replaced_each_time() {
    let (rig, saboteur) = sabotaged();
    let store = rig.open_ready().await;
    for number in 1..=6 {
        saboteur.put(Step::Row, FULL);
        put(&store, &key(&number.to_string()), b"bytes").await;
        until(|| store.usage().index_deaths == number).await;
        saboteur.stop();
        until(|| store.usage().index == IndexState::Ready).await;
    }
    settle(&store).await;
    assert_eq!(store.usage().entries, 6);
    let dead = rig.path().join("index-1");
    let bytes = || {
        let files = fs::read_dir(&dead).unwrap();
        let lengths = files.map(|file| file.unwrap().metadata().unwrap());
        let of_files = lengths.filter(fs::Metadata::is_file);
        of_files.map(|metadata| metadata.len()).sum::<u64>()
    };
    until(|| bytes() == 0).await;
    store.close(Duration::from_secs(5)).await;
    let again = rig.open_ready().await;
    for number in 1..=6 {
        assert_eq!(body_of(&again, &key(&number.to_string())).await, "bytes");
    }
}
