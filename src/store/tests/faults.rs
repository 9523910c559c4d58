//! Faults of disk and index while the store runs: what a caller sees of them, and that they leave nothing behind.

use super::*;
use std::io::ErrorKind;

const FAULTS: [Fault; 3] = [Fault::Hang, Fault::Io(ErrorKind::StorageFull), Fault::Panic];

#[track_caller]
fn expected_of(fault: Fault) -> StoreFault {
    match fault {
        Fault::Hang => StoreFault::Timeout,
        Fault::Io(ErrorKind::StorageFull) => StoreFault::DiskFull,
        Fault::Io(_) => StoreFault::Io,
        Fault::Panic => StoreFault::Panicked,
    }
}

/// Whether the store works and its accounts are right, once the fault is over.
async fn assert_well(rig: &Rig, store: &Store) {
    put(store, &key("after"), &noise(9, 300_000)).await;
    until(|| store.usage().index == IndexState::Ready).await;
    settle(store).await;
    assert_eq!(body_of(store, &key("after")).await, noise(9, 300_000));
    let tmp = rig.path().join("tmp");
    until(|| fs::read_dir(&tmp).unwrap().count() == 0).await;
    until(|| store.usage().reserved_bytes == 0).await;
    assert_accounts(store, rig.path());
}

#[tokio::test(start_paused = true)]
async fn a_fault_before_the_verdict_is_told_to_the_writer() {
    for fault in FAULTS {
        for step in [Step::Reserve, Step::Write] {
            let (rig, saboteur) = sabotaged();
            let store = rig.open_ready().await;
            saboteur.put(step, fault);
            let begun = store.begin(&key("a"), Some(600_000)).await;
            let outcome = match begun {
                Ok(mut writer) => {
                    let first = writer.write(noise(1, 300_000).into()).await;
                    assert_eq!(writer.write("more".into()).await, first);
                    assert_eq!(writer.sync_hash().await.map(|_| ()), first);
                    first
                }
                Err(fault) => Err(fault),
            };
            assert_eq!(outcome, Err(expected_of(fault)), "{step:?}");
            saboteur.stop();
            assert!(is_absent(&store.lookup(&key("a")).await));
            assert_well(&rig, &store).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_after_the_verdict_costs_the_entry_and_no_reader() {
    for fault in FAULTS {
        for step in [Step::Trailer, Step::Sync, Step::Rename] {
            let (rig, saboteur) = sabotaged();
            let store = rig.open_ready().await;
            saboteur.put(step, fault);
            let stored = put(&store, &key("a"), &noise(1, 300_000)).await;
            // Found between the verdict and the fault.
            assert_eq!(body_of(&store, &key("a")).await, noise(1, 300_000));
            until(|| store.usage().failed_commits == 1).await;
            assert_eq!(stored.body.read_all().await.unwrap(), noise(1, 300_000));
            assert!(is_absent(&store.lookup(&key("a")).await), "{step:?}");
            drop(stored);
            saboteur.stop();
            assert_well(&rig, &store).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_that_is_published_anyway_is_not_stored() {
    let (rig, saboteur) = sabotaged();
    let store = rig.open_ready().await;
    let mut writer = store.begin(&key("a"), None).await.unwrap();
    saboteur.put(Step::Write, Fault::Hang);
    writer.write(noise(1, 300_000).into()).await.unwrap_err();
    saboteur.stop();
    let stored = writer.publish(draft(&store));
    assert!(is_absent(&store.lookup(&key("a")).await));
    drop(stored);
    assert_well(&rig, &store).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_that_nobody_waits_for_is_done_by_the_next() {
    let (rig, saboteur) = sabotaged();
    let store = rig.open_ready().await;
    let mut writer = store.begin(&key("a"), None).await.unwrap();
    saboteur.put(Step::Write, Fault::Hang);
    let given_up = tokio::time::timeout(
        Duration::from_secs(1),
        writer.write(noise(1, 300_000).into()),
    );
    assert!(given_up.await.is_err());
    saboteur.stop();
    writer.write("end".into()).await.unwrap();
    let stored = writer.publish(draft(&store));
    settle(&store).await;
    let mut expected = noise(1, 300_000);
    expected.extend_from_slice(b"end");
    assert_eq!(body_of(&store, &key("a")).await, expected);
    let sha512 = ring::digest::digest(&ring::digest::SHA512, &expected);
    assert_eq!(stored.entry.sha512, sha512.as_ref());
}

#[tokio::test(start_paused = true)]
async fn an_index_that_dies_is_replaced_and_nothing_stored_is_lost() {
    for fault in FAULTS {
        for step in [Step::IndexRead, Step::Row] {
            let (rig, saboteur) = sabotaged();
            let store = rig.open_ready().await;
            let stored = put(&store, &key("a"), &noise(1, 100_000)).await;
            settle(&store).await;
            let epoch = store.raise("nuget", Some("x"), Raise::Publish);
            let mark = Mark {
                key: key("a"),
                since: rig.clock.now(),
                detail: String::new(),
            };
            assert!(store.mark(MarkKind::Withdrawn, mark));
            settle(&store).await;
            // So that the next lookup asks the index.
            store.shared.handles.remove(key("a").bytes());
            saboteur.put(step, fault);
            let before = rig.clock.instant();
            let during = found(store.lookup(&key("a")).await);
            assert!(before.elapsed() <= Duration::from_millis(250));
            assert_eq!(during.entry.sha512, stored.entry.sha512);
            put(&store, &key("b"), b"during").await;
            store.raise("nuget", Some("y"), Raise::Refresh);
            until(|| store.usage().index_deaths > 0).await;
            saboteur.stop();
            until(|| store.usage().index == IndexState::Ready).await;
            settle(&store).await;
            assert!(store.shared.index.number() > 1);
            for (name, bytes) in [("a", noise(1, 100_000)), ("b", b"during".to_vec())] {
                assert_eq!(
                    body_of(&store, &key(name)).await,
                    bytes,
                    "{step:?} {fault:?}"
                );
            }
            assert_well(&rig, &store).await;
            store.close(Duration::from_secs(5)).await;
            let store = rig.open_ready().await;
            assert_eq!(body_of(&store, &key("b")).await, "during");
            assert_eq!(store.gate("nuget", Some("x")).epoch, epoch);
            assert!(store.gate("nuget", Some("y")).epoch > Epoch(1));
            assert!(store.has_marks(MarkKind::Withdrawn));
            assert_eq!(store.usage().index_deaths, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_that_never_opens_is_given_up_and_the_files_answer() {
    // For want of room it is tried again, for ever: `space`.
    for fault in [Fault::Hang, Fault::Io(ErrorKind::InvalidData), Fault::Panic] {
        let (rig, saboteur) = sabotaged();
        let store = rig.open_ready().await;
        put(&store, &key("a"), b"body").await;
        store.close(Duration::from_secs(5)).await;
        saboteur.put(Step::IndexOpen, fault);
        let store = rig.open().await;
        assert_eq!(body_of(&store, &key("a")).await, "body");
        until(|| store.usage().index == IndexState::Dead).await;
        assert_eq!(store.usage().index_deaths, 4);
        let stored = found(store.lookup(&key("a")).await);
        assert_eq!(stored.entry.epoch, Epoch(0), "its times are not known");
        let later = rig.clock.now();
        store.refresh(&stored, later, Epoch(5), None);
        settle(&store).await;
        let refreshed = found(store.lookup(&key("a")).await).entry;
        assert_eq!((refreshed.validated_at, refreshed.epoch), (later, Epoch(5)));
        put(&store, &key("b"), b"other").await;
        let raised = store.raise("nuget", Some("a"), Raise::Refresh);
        assert_eq!(store.gate("nuget", Some("a")).epoch, raised);
        settle(&store).await;
        assert_eq!(body_of(&store, &key("b")).await, "other");
        store.remove(&key("b")).await;
        assert!(is_absent(&store.lookup(&key("b")).await));
        store.close(Duration::from_secs(5)).await;
        saboteur.stop();
        let store = rig.open_ready().await;
        assert_eq!(body_of(&store, &key("a")).await, "body");
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_wait_when_the_index_dies_hide_nothing_for_ever() {
    let (rig, saboteur) = sabotaged();
    let store = rig.open_ready().await;
    saboteur.put(Step::Row, Fault::Hang);
    // More than one batch.
    for n in 0..100 {
        put(&store, &key(&n.to_string()), b"body").await;
    }
    until(|| store.usage().index_deaths > 0).await;
    saboteur.stop();
    assert_well(&rig, &store).await;
    for n in 0..100 {
        assert_eq!(body_of(&store, &key(&n.to_string())).await, "body");
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_killed_by_every_row_is_not_rebuilt_for_ever() {
    let (rig, saboteur) = sabotaged();
    let store = rig.open_ready().await;
    saboteur.put(Step::Row, Fault::Panic);
    put(&store, &key("a"), b"body").await;
    until(|| store.usage().index == IndexState::Dead).await;
    settle(&store).await;
    assert_eq!(body_of(&store, &key("a")).await, "body");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_on_open_is_unavailable_and_not_absent() {
    let (rig, saboteur) = sabotaged();
    let store = rig.open_ready().await;
    put(&store, &key("a"), b"body").await;
    settle(&store).await;
    store.shared.handles.remove(key("a").bytes());
    saboteur.put(Step::Open, Fault::Hang);
    let lookup = store.lookup(&key("a")).await;
    assert!(matches!(lookup, Lookup::Unavailable(StoreFault::Timeout)));
    saboteur.stop();
    assert_eq!(body_of(&store, &key("a")).await, "body");
}

#[tokio::test(start_paused = true)]
async fn a_read_fault_is_told_and_a_later_read_works() {
    let (rig, saboteur) = sabotaged();
    let store = rig.open_ready().await;
    put(&store, &key("a"), b"body").await;
    settle(&store).await;
    let body = found(store.lookup(&key("a")).await).body;
    for fault in FAULTS {
        saboteur.put(Step::Read, fault);
        assert_eq!(body.read(0..4).await, Err(expected_of(fault)));
        saboteur.stop();
        assert_eq!(body.read(1..3).await.unwrap(), "od");
    }
    let faults: u64 = store.usage().faults.iter().map(|(_, count)| count).sum();
    assert_eq!(faults, 3);
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_fails_leaves_the_entry_as_it_was() {
    let (rig, saboteur) = sabotaged();
    let store = rig.open_ready().await;
    put(&store, &key("a"), b"body").await;
    settle(&store).await;
    saboteur.put(Step::Unlink, Fault::Io(ErrorKind::PermissionDenied));
    store.remove(&key("a")).await;
    saboteur.stop();
    assert_eq!(body_of(&store, &key("a")).await, "body");
    assert_well(&rig, &store).await;
}
