//! Starts: refusals, what an earlier process left, and bytes that changed while nobody looked.

use super::*;
use std::fs::OpenOptions;
use std::io::Write as _;

async fn stored_and_closed(rig: &Rig, names: &[&str]) {
    let store = rig.open_ready().await;
    for name in names {
        put(&store, &key(name), name.as_bytes()).await;
    }
    store.close(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_process_waits_for_the_folder_and_then_names_its_holder() {
    let rig = Rig::with(|settings| settings.lock_wait = Duration::from_secs(30));
    let first = rig.open().await;
    let before = rig.clock.instant();
    let refused = rig.try_open().await.unwrap_err();
    let waited = before.elapsed();
    assert!((30..32).contains(&waited.as_secs()), "{waited:?}");
    let pid = std::process::id().to_string();
    assert!(matches!(&refused, OpenError::Locked { holder, .. } if *holder == pid));
    assert!(refused.to_string().contains(&pid));
    let (second, ()) = tokio::join!(rig.try_open(), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        first.close(Duration::from_secs(1)).await;
    });
    assert!(second.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_later_format_is_refused_and_left_alone() {
    let rig = Rig::new();
    stored_and_closed(&rig, &["a"]).await;
    let version = rig.path().join("VERSION");
    assert_eq!(fs::read_to_string(&version).unwrap(), "1\n");
    fs::write(&version, "2\n").unwrap();
    fs::write(rig.path().join("tmp/left"), "x").unwrap();
    let refused = rig.try_open().await.unwrap_err();
    assert!(matches!(
        refused,
        OpenError::NewerFormat { found: 2, known: 1 }
    ));
    assert!(rig.path().join("tmp/left").exists());
    fs::write(&version, "1\n").unwrap();
    let store = rig.open_ready().await;
    assert_eq!(body_of(&store, &key("a")).await, "a");
    assert!(!rig.path().join("tmp/left").exists());
}

#[tokio::test(start_paused = true)]
async fn a_folder_keeps_its_identity_and_shares_it_with_no_other() {
    let (rig, other) = (Rig::new(), Rig::new());
    let store = rig.open().await;
    let identity = store.identity().to_owned();
    assert_eq!(identity.len(), 8);
    assert_ne!(identity, other.open().await.identity());
    store.close(Duration::from_secs(1)).await;
    let store = rig.open().await;
    assert_eq!(store.identity(), identity);
    store.close(Duration::from_secs(1)).await;
    fs::write(rig.path().join("IDENTITY"), "no hex").unwrap();
    assert_ne!(rig.open().await.identity(), identity);
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_no_folder_is_refused() {
    let rig = Rig::new();
    let file = rig.path().join("file");
    fs::write(&file, "x").unwrap();
    for (path, below) in [(file.clone(), false), (file.join("data"), true)] {
        let settings = Settings {
            data_dir: path,
            ..rig.settings.clone()
        };
        let refused = Store::open(settings, rig.clock.clone(), Tasks::new()).await;
        let expected = match refused.unwrap_err() {
            OpenError::NotADirectory { .. } => !below,
            OpenError::Unwritable { .. } => below,
            other => panic!("{other}"),
        };
        assert!(expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_index_is_rebuilt_from_the_files() {
    let rig = Rig::new();
    let names: Vec<String> = (0..150).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    stored_and_closed(&rig, &names).await;
    fs::remove_dir_all(rig.path().join("index-1")).unwrap();
    let store = rig.open_ready().await;
    settle(&store).await;
    assert!(store.usage().written_rows >= 150);
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    for name in names {
        assert_eq!(body_of(&store, &key(name)).await, name);
    }
    assert_eq!(store.usage().adopted, 0, "the rows were there");
    assert_accounts(&store, rig.path());
}

#[tokio::test(start_paused = true)]
async fn an_index_whose_last_handle_is_still_closing_is_waited_for() {
    let rig = Rig::new();
    stored_and_closed(&rig, &["a"]).await;
    let closing = File::open(rig.path().join("index-1").join("db")).unwrap();
    closing.lock().unwrap();
    let store = rig.open().await;
    // No timer: the clock of a test stands while a thread works for it.
    for _ in 0..100 {
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(store.usage().index, IndexState::Opening);
    drop(closing);
    until(|| store.usage().index == IndexState::Ready).await;
    assert_eq!(store.usage().adopted, 0, "the rows were there");
    assert!(!rig.path().join("index-2").exists());
}

/// The index in this folder, once its last handle is closed.
async fn opened(folder: &Path) -> sled::Db {
    let mut db = None;
    until(|| {
        db = sled::open(folder).ok();
        db.is_some()
    })
    .await;
    db.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_that_was_interrupted_is_done_again() {
    let rig = Rig::new();
    stored_and_closed(&rig, &["a", "b"]).await;
    let index = rig.path().join("index-1");
    {
        let db = opened(&index).await;
        db.remove(row::REBUILT).unwrap().unwrap();
        db.remove(row::entry(key("b").bytes())).unwrap();
        db.flush().unwrap();
    }
    let store = rig.open_ready().await;
    store.close(Duration::from_secs(5)).await;
    let db = opened(&index).await;
    assert!(db.contains_key(row::REBUILT).unwrap());
    assert!(db.contains_key(row::entry(key("b").bytes())).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_index_is_replaced() {
    let rig = Rig::new();
    stored_and_closed(&rig, &["a"]).await;
    for entry in fs::read_dir(rig.path().join("index-1")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = fs::metadata(&path).unwrap().len();
            fs::write(&path, noise(5, usize::try_from(bytes).unwrap())).unwrap();
        }
    }
    let store = rig.open_ready().await;
    assert_eq!(store.usage().index_deaths, 1);
    assert_eq!(body_of(&store, &key("a")).await, "a");
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    assert_eq!(store.usage().index_deaths, 0);
    assert!(!rig.path().join("index-1").exists());
}

#[tokio::test(start_paused = true)]
async fn a_half_written_snapshot_does_not_keep_the_index_closed() {
    let rig = Rig::new();
    stored_and_closed(&rig, &["a"]).await;
    let planted = rig.path().join("index-1/snap.00000000FFFFFFFF.generating");
    fs::write(&planted, "half").unwrap();
    let store = rig.open_ready().await;
    assert_eq!(store.usage().index_deaths, 0);
    assert!(!planted.exists());
}

#[tokio::test(start_paused = true)]
async fn a_row_without_a_file_is_a_miss() {
    let rig = Rig::new();
    stored_and_closed(&rig, &["a"]).await;
    fs::remove_dir_all(rig.path().join("bodies")).unwrap();
    let store = rig.open_ready().await;
    assert!(is_absent(&store.lookup(&key("a")).await));
    put(&store, &key("a"), b"again").await;
    settle(&store).await;
    assert_eq!(body_of(&store, &key("a")).await, "again");
    assert_accounts(&store, rig.path());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_cut_or_is_no_body_is_set_aside() {
    let rig = Rig::new();
    for damage in ["cut", "trailer", "strange", "empty"] {
        stored_and_closed(&rig, &[damage]).await;
        let layout = Layout::new(rig.path().to_path_buf(), platform::Portability::Native);
        let path = layout.body(key(damage).bytes());
        let length = fs::metadata(&path).unwrap().len();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        match damage {
            "cut" => file.set_len(length - 1).unwrap(),
            "trailer" => platform::write_all_at(&file, b"?", length - 40).unwrap(),
            "strange" => platform::write_all_at(&file, &[0; 300], 0).unwrap(),
            _ => file.set_len(0).unwrap(),
        }
        let store = rig.open_ready().await;
        assert!(is_absent(&store.lookup(&key(damage)).await), "{damage}");
        assert_eq!(store.usage().quarantined, 1, "{damage}");
        assert!(!path.exists());
        put(&store, &key(damage), b"again").await;
        settle(&store).await;
        assert_eq!(body_of(&store, &key(damage)).await, "again");
        assert_accounts(&store, rig.path());
        store.close(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_hit_after_a_start_has_the_body_checked_behind_it() {
    let rig = Rig::new();
    stored_and_closed(&rig, &["good", "rotten"]).await;
    let layout = Layout::new(rig.path().to_path_buf(), platform::Portability::Native);
    let path = layout.body(key("rotten").bytes());
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    platform::write_all_at(&file, b"R", 0).unwrap();
    let store = rig.open_ready().await;
    let rotten = found(store.lookup(&key("rotten")).await);
    // A part of it is what the disk gives; the whole is never read wrong.
    assert_eq!(rotten.body.read(0..3).await.unwrap(), "Rot");
    drop(rotten);
    assert_eq!(body_of(&store, &key("good")).await, "good");
    until(|| store.usage().quarantined == 1).await;
    assert!(is_absent(&store.lookup(&key("rotten")).await));
    assert_eq!(body_of(&store, &key("good")).await, "good");
    assert_eq!(fs::read_dir(layout.quarantine()).unwrap().count(), 1);
    settle(&store).await;
    assert_accounts(&store, rig.path());
}

#[tokio::test(start_paused = true)]
async fn strangers_in_the_folder_are_left_alone() {
    let rig = Rig::new();
    stored_and_closed(&rig, &["a"]).await;
    let path = rig.path().join("bodies/00");
    fs::create_dir_all(&path).unwrap();
    let mut file = File::create(path.join("README")).unwrap();
    file.write_all(b"not ours").unwrap();
    let store = rig.open_ready().await;
    assert_eq!(store.usage().entries, 1);
    assert!(path.join("README").exists());
    assert!(rig.path().join("CACHEDIR.TAG").exists());
}

#[tokio::test(start_paused = true)]
async fn the_portable_paths_store_and_find_the_same() {
    let rig = Rig::with(|settings| settings.portability = platform::Portability::Portable);
    stored_and_closed(&rig, &["a", "b"]).await;
    let store = rig.open_ready().await;
    assert_eq!(body_of(&store, &key("a")).await, "a");
    assert_eq!(store.usage().body_bytes, 2 * 4096);
    assert_eq!(store.usage().free_bytes, u64::MAX);
}

#[tokio::test(start_paused = true)]
async fn the_default_cap_counts_what_is_there() {
    let rig = Rig::with(|settings| settings.max_store_bytes = None);
    stored_and_closed(&rig, &["a"]).await;
    let store = rig.open_ready().await;
    let space = platform::space(rig.path(), platform::Portability::Native).unwrap();
    let cap = store.usage().max_store_bytes;
    assert!(cap <= 10 << 30);
    assert!(cap >= (10 << 30).min(space.free / 4), "{cap}");
}

#[tokio::test(start_paused = true)]
async fn the_ballast_is_made_once_and_is_small() {
    let rig = Rig::with(|settings| settings.ballast_bytes = 1 << 20);
    let store = rig.open_ready().await;
    let ballast = rig.path().join("BALLAST");
    until(|| ballast.exists()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fs::metadata(&ballast).unwrap().len(), 1 << 20);
    store.close(Duration::from_secs(5)).await;
    let rig = Rig {
        settings: Settings {
            ballast_bytes: 0,
            ..rig.settings.clone()
        },
        ..rig
    };
    rig.open_ready().await;
    assert!(!ballast.exists());
}

#[tokio::test(start_paused = true)]
async fn draining_writes_what_waits_and_ends_every_task() {
    let rig = Rig::new();
    let tasks = Tasks::new();
    let store = Store::open(rig.settings.clone(), rig.clock.clone(), tasks.clone())
        .await
        .unwrap();
    until(|| store.usage().index == IndexState::Ready).await;
    let stored = put(&store, &key("a"), b"body").await;
    let later = rig.clock.now() + Duration::from_secs(9);
    store.refresh(&stored, later, Epoch(8), None);
    let drained = tasks.drain(Duration::from_secs(5)).await;
    assert_eq!(drained, crate::tasks::Drained::Complete);
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    assert_eq!(found(store.lookup(&key("a")).await).entry.epoch, Epoch(8));
}

#[tokio::test(start_paused = true)]
async fn many_keys_are_told_at_once_before_the_count_and_after_it() {
    let opened = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&opened);
    let rig = Rig::with(|settings| {
        settings.probe = Some(Probe::new(move |step| {
            counter.fetch_add(u64::from(step == Step::Open), Ordering::Relaxed);
            None
        }));
    });
    let names: Vec<String> = (0..2000).map(|number| format!("p{number}")).collect();
    stored_and_closed(&rig, &["p7", "p1999"]).await;
    let keys: Vec<Key> = names.iter().map(|name| key(name)).collect();
    let held = |told: Vec<bool>| -> Vec<usize> {
        let held = told.iter().enumerate().filter(|(_, is_held)| **is_held);
        held.map(|(at, _)| at).collect()
    };
    // The count of what an earlier process left has not begun: one call looks all of them up by name.
    let store = rig.open().await;
    let before = opened.load(Ordering::Relaxed);
    assert_eq!(held(store.holds(&keys).await), [7, 1999]);
    assert_eq!(opened.load(Ordering::Relaxed), before + 1);
    until(|| *store.shared.counted.borrow() == Count::Done).await;
    let before = opened.load(Ordering::Relaxed);
    assert_eq!(held(store.holds(&keys).await), [7, 1999]);
    put(&store, &keys[3], b"new").await;
    store.remove(&keys[7]).await;
    assert_eq!(held(store.holds(&keys).await), [3, 1999]);
    assert_eq!(opened.load(Ordering::Relaxed), before);
}
