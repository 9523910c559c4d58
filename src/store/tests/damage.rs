//! Files that change behind our back: found, counted, set aside or forgotten, and told of once.

use super::*;
use std::fs::OpenOptions;
use std::path::PathBuf;

fn path_of(rig: &Rig, key: &Key) -> PathBuf {
    let layout = Layout::new(rig.path().to_path_buf(), platform::Portability::Native);
    layout.body(key.bytes())
}

fn cut(rig: &Rig, key: &Key, length: u64) {
    let file = OpenOptions::new().write(true).open(path_of(rig, key));
    file.unwrap().set_len(length).unwrap();
}

fn flip(rig: &Rig, key: &Key, offset: usize) {
    let path = path_of(rig, key);
    let mut bytes = fs::read(&path).unwrap();
    bytes[offset] ^= 1;
    // The same file, which somebody may have open.
    let file = OpenOptions::new().write(true).open(path).unwrap();
    platform::write_all_at(&file, &bytes, 0).unwrap();
}

fn count_of(store: &Store, fault: StoreFault) -> u64 {
    let faults = store.usage().faults;
    let found = faults.iter().find(|(known, _)| *known == fault);
    found.unwrap().1
}

/// A store with a body, and the token by which a connection sends it.
#[cfg(target_os = "linux")]
async fn being_sent(rig: &Rig) -> (Store, Stored, Bytes) {
    let store = rig.open_ready().await;
    put(&store, &key("a"), &noise(1, 700_000)).await;
    settle(&store).await;
    let stored = found(store.lookup(&key("a")).await);
    let token = store.token(&stored, 0..700_000).unwrap();
    (store, stored, token)
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_body_that_turned_out_short_while_it_was_sent_is_given_to_nobody_again() {
    let rig = Rig::new();
    let (store, stored, token) = being_sent(&rig).await;
    let place = crate::mapped::locate(&token).unwrap();
    cut(&rig, &key("a"), 300_000);
    // What is held open is given until somebody finds out.
    assert!(!is_absent(&store.lookup(&key("a")).await));
    for _ in 0..10 {
        place.tell_damage();
    }
    assert!(is_absent(&store.lookup(&key("a")).await));
    until(|| store.usage().quarantined == 1).await;
    put(&store, &key("a"), &noise(2, 700_000)).await;
    settle(&store).await;
    assert_eq!(body_of(&store, &key("a")).await, noise(2, 700_000));
    assert_eq!(store.usage().quarantined, 1);
    assert!(count_of(&store, StoreFault::Rotten) > 0);
    drop((place, token, stored));
    assert_accounts(&store, rig.path());
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_body_that_could_not_be_read_while_it_was_sent_is_given_to_nobody_again() {
    let (rig, saboteur) = sabotaged();
    let (store, stored, token) = being_sent(&rig).await;
    let place = crate::mapped::locate(&token).unwrap();
    saboteur.put(Step::Read, Fault::Io(std::io::ErrorKind::Other));
    for _ in 0..10 {
        place.tell_damage();
    }
    assert!(is_absent(&store.lookup(&key("a")).await));
    until(|| store.usage().quarantined == 1).await;
    assert_eq!(count_of(&store, StoreFault::Io), 1);
    assert_eq!(count_of(&store, StoreFault::Rotten), 0);
    saboteur.stop();
    // Not even with a disk that can read again.
    assert!(is_absent(&store.lookup(&key("a")).await));
    put(&store, &key("a"), &noise(2, 700_000)).await;
    settle(&store).await;
    assert_eq!(body_of(&store, &key("a")).await, noise(2, 700_000));
    assert_eq!(store.usage().quarantined, 1);
    drop((place, token, stored));
    assert_accounts(&store, rig.path());
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_body_that_was_only_suspected_is_found_good_and_kept() {
    let rig = Rig::new();
    let (store, stored, token) = being_sent(&rig).await;
    crate::mapped::locate(&token).unwrap().tell_damage();
    assert!(stored.body.is_suspect());
    until(|| !stored.body.is_suspect()).await;
    assert_eq!(body_of(&store, &key("a")).await, noise(1, 700_000));
    assert_eq!(store.usage().quarantined, 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_read_whole_is_never_read_wrong() {
    let rig = Rig::new();
    let store = rig.open_ready().await;
    put(&store, &key("a"), &noise(1, 40_000)).await;
    settle(&store).await;
    let stored = found(store.lookup(&key("a")).await);
    assert_eq!(stored.body.read_all().await.unwrap(), noise(1, 40_000));
    flip(&rig, &key("a"), 20_000);
    assert_eq!(stored.body.read_all().await, Err(StoreFault::Rotten));
    // A part has no checksum of its own.
    assert_eq!(stored.body.read(0..2).await.unwrap(), noise(1, 2));
    for _ in 0..10 {
        store.quarantine(&stored, "rotten").await;
    }
    assert_eq!(store.usage().quarantined, 1);
    assert!(is_absent(&store.lookup(&key("a")).await));
}

#[tokio::test(start_paused = true)]
async fn however_many_rotted_each_is_found_by_its_first_request_after_a_start() {
    let rig = Rig::new();
    let store = rig.open_ready().await;
    let keys: Vec<Key> = (0..300).map(|n| key(&n.to_string())).collect();
    for key in &keys {
        put(&store, key, &noise(1, 1000)).await;
    }
    settle(&store).await;
    store.close(Duration::from_secs(5)).await;
    for key in &keys {
        flip(&rig, key, 500);
    }
    let store = rig.open_ready().await;
    // All at once, as a build asks.
    for key in &keys {
        assert!(!is_absent(&store.lookup(key).await));
    }
    until(|| store.usage().quarantined == 300).await;
    for key in &keys {
        assert!(is_absent(&store.lookup(key).await), "{key:?}");
    }
    assert_eq!(count_of(&store, StoreFault::Rotten), 300);
    assert_accounts(&store, rig.path());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_somebody_deleted_is_a_miss_and_counts_no_more() {
    let rig = Rig::with(|settings| settings.max_open_bodies = Some(1));
    let store = rig.open_ready().await;
    for name in ["a", "b"] {
        put(&store, &key(name), &noise(1, 50_000)).await;
    }
    settle(&store).await;
    // Whoever has it open goes on.
    let held = found(store.lookup(&key("a")).await);
    fs::remove_file(path_of(&rig, &key("a"))).unwrap();
    assert_eq!(body_of(&store, &key("a")).await, noise(1, 50_000));
    assert_eq!(body_of(&store, &key("b")).await, noise(1, 50_000));
    for _ in 0..3 {
        assert!(is_absent(&store.lookup(&key("a")).await));
    }
    assert_eq!(count_of(&store, StoreFault::Missing), 1);
    assert_eq!(held.body.read_all().await.unwrap(), noise(1, 50_000));
    drop(held);
    settle(&store).await;
    assert_accounts(&store, rig.path());
    put(&store, &key("a"), b"again").await;
    settle(&store).await;
    assert_eq!(body_of(&store, &key("a")).await, "again");
    assert_accounts(&store, rig.path());
}

#[tokio::test(start_paused = true)]
async fn a_body_of_a_later_release_is_a_miss_and_left_where_it_is() {
    let rig = Rig::new();
    let store = rig.open_ready().await;
    put(&store, &key("a"), b"body").await;
    settle(&store).await;
    store.close(Duration::from_secs(5)).await;
    let path = path_of(&rig, &key("a"));
    let mut bytes = fs::read(&path).unwrap();
    let footer = bytes.len() - 16;
    let length = u32::from_le_bytes(bytes[footer..footer + 4].try_into().unwrap());
    let record = footer - usize::try_from(length).unwrap();
    bytes[record] += 1;
    let crc = crc32c::crc32c(&bytes[record..footer]).to_le_bytes();
    bytes[footer + 4..footer + 8].copy_from_slice(&crc);
    fs::write(&path, &bytes).unwrap();
    let store = rig.open_ready().await;
    assert!(is_absent(&store.lookup(&key("a")).await));
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(count_of(&store, StoreFault::Missing), 0);
    assert_eq!(store.usage().quarantined, 0);
    put(&store, &key("a"), b"ours").await;
    settle(&store).await;
    assert_eq!(body_of(&store, &key("a")).await, "ours");
    assert_accounts(&store, rig.path());
}

/// What somebody may make of an index's folder.
fn spoil(folder: &Path, how: &str) {
    match how {
        "a file in its place" => {
            fs::remove_dir_all(folder).unwrap();
            fs::write(folder, "x").unwrap();
        }
        "a folder in place of its file" => {
            fs::remove_file(folder.join("db")).unwrap();
            fs::create_dir(folder.join("db")).unwrap();
        }
        "of another version of sled" => {
            fs::write(folder.join("conf"), "version: 9.9\n").unwrap();
        }
        _ => fs::write(folder.join("db"), "").unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_that_cannot_be_used_is_replaced_and_the_next_start_clears_it_away() {
    for how in [
        "a file in its place",
        "a folder in place of its file",
        "of another version of sled",
        "empty",
    ] {
        let rig = Rig::new();
        let store = rig.open_ready().await;
        put(&store, &key("a"), b"body").await;
        settle(&store).await;
        store.close(Duration::from_secs(5)).await;
        spoil(&rig.path().join("index-1"), how);
        for _ in 0..2 {
            let store = rig.open_ready().await;
            assert_eq!(body_of(&store, &key("a")).await, "body", "{how}");
            settle(&store).await;
            assert_accounts(&store, rig.path());
            store.close(Duration::from_secs(5)).await;
        }
        let replaced = rig.path().join("index-2").exists();
        assert!(
            !replaced || !rig.path().join("index-1").exists(),
            "{how}: it was left"
        );
    }
}
