//! Who gets the room: the hot set over a scan and over huge bodies, everything over a restart, and the floor of free space.

use super::*;

const CAP: u64 = 8 << 20;

fn capped() -> Rig {
    Rig::with(|settings| settings.max_store_bytes = Some(CAP))
}

/// Stores a hot set of 2 MiB that is used again and again.
async fn hot(store: &Store) {
    for n in 0..64 {
        put(store, &key(&format!("hot{n}")), &noise(n, 32 << 10)).await;
    }
    settle(store).await;
    use_hot(store);
}

fn use_hot(store: &Store) {
    for n in 0..64 {
        store.note_use(&key(&format!("hot{n}")));
        store.note_use(&key(&format!("hot{n}")));
    }
}

async fn hot_left(store: &Store) -> usize {
    let keys: Vec<Key> = (0..64).map(|n| key(&format!("hot{n}"))).collect();
    let held = store.holds(&keys).await;
    held.into_iter().filter(|held| *held).count()
}

#[tokio::test(start_paused = true)]
async fn a_scan_of_ten_times_the_cap_leaves_the_hot_set() {
    let rig = capped();
    let store = rig.open_ready().await;
    hot(&store).await;
    for n in 0..640 {
        put(&store, &key(&format!("scan{n}")), &noise(n, 128 << 10)).await;
        // What is on its way to its name cannot go: on a slow disk everything else would have to, were it as much as the cap.
        if n % 8 == 7 {
            settle(&store).await;
        }
    }
    settle(&store).await;
    let usage = store.usage();
    assert!(usage.evicted_bytes > 9 * CAP, "{usage:?}");
    let left = hot_left(&store).await;
    assert!(left >= 58, "{left} of 64");
    assert_accounts(&store, rig.path());
}

#[tokio::test(start_paused = true)]
async fn a_huge_body_displaces_only_what_is_not_in_use() {
    let rig = capped();
    let store = rig.open_ready().await;
    hot(&store).await;
    for n in 0..4 {
        put(&store, &key(&format!("once{n}")), &noise(n, 1 << 20)).await;
    }
    settle(&store).await;
    // There is room for it where what was asked for once stands.
    let large = put(&store, &key("huge"), &noise(1, 5 << 20)).await;
    settle(&store).await;
    drop(large);
    assert_eq!(body_of(&store, &key("huge")).await, noise(1, 5 << 20));
    assert_eq!(hot_left(&store).await, 64);
    // There is none for this one without the hot set, so nothing goes for it.
    let evictions = store.usage().evictions;
    let refused = store.begin(&key("other"), Some(6 << 20)).await;
    assert_eq!(refused.unwrap_err(), StoreFault::NoRoom);
    assert_eq!(store.usage().evictions, evictions);
    // Nor for one that turns out to be as huge on the way.
    let mut writer = store.begin(&key("other"), None).await.unwrap();
    let mut written = Ok(());
    for n in 0..7 {
        written = written.and(writer.write(noise(n, 1 << 20).into()).await);
    }
    assert_eq!(written, Err(StoreFault::NoRoom));
    drop(writer);
    assert_eq!(hot_left(&store).await, 64);
    // What nobody has used for a day is not in use.
    tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
    assert!(store.begin(&key("other"), Some(6 << 20)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_restart_evicts_nothing() {
    let rig = capped();
    let store = rig.open_ready().await;
    for n in 0..20 {
        put(&store, &key(&n.to_string()), &noise(n, 512 << 10)).await;
        settle(&store).await;
    }
    let before = store.usage();
    assert!(before.evictions > 0, "it is full: {before:?}");
    for _ in 0..3 {
        let held = store.usage().entries;
        let store = rig.reopened(&store).await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        let usage = store.usage();
        assert_eq!((usage.evictions, usage.entries), (0, held));
        assert_accounts(&store, rig.path());
        store.close(Duration::from_secs(5)).await;
    }
}

impl Rig {
    async fn reopened(&self, store: &Store) -> Store {
        store.close(Duration::from_secs(5)).await;
        self.open_ready().await
    }
}

#[tokio::test(start_paused = true)]
async fn evicting_what_was_used_within_a_day_is_counted_and_named_once_a_day() {
    let rig = capped();
    let store = rig.open_ready().await;
    for n in 0..20 {
        put(&store, &key(&n.to_string()), &noise(n, 512 << 10)).await;
        settle(&store).await;
    }
    let usage = store.usage();
    assert!(usage.evictions > 0);
    assert_eq!(usage.recent_evictions, usage.evictions);
    assert_eq!(usage.recent_evicted_bytes, usage.evicted_bytes);
    let shortage = store.shared.quota.take_shortage().unwrap();
    assert_eq!(u64::try_from(shortage.bodies).unwrap(), usage.evictions);
    assert_eq!(shortage.sufficient_cap, CAP + usage.evicted_bytes);
    put(&store, &key("more"), &noise(1, 512 << 10)).await;
    settle(&store).await;
    assert_eq!(store.shared.quota.take_shortage(), None, "once a day");
    // What was not used for two days may go, and nobody is warned of it.
    tokio::time::sleep(Duration::from_secs(48 * 3600)).await;
    let before = store.usage().recent_evictions;
    put(&store, &key("new"), &noise(2, 512 << 10)).await;
    settle(&store).await;
    let usage = store.usage();
    assert!(usage.evictions > before);
    assert_eq!(usage.recent_evictions, before);
}

/// Random writes and removals on a disk of 26 MiB of which 19 must stay free: never is less free, and never is more counted
/// than there is.
#[tokio::test(start_paused = true)]
async fn the_floor_holds_at_every_step_of_a_random_run() {
    const DISK: u64 = 26 << 20;
    const FLOOR: u64 = 19 << 20;
    let seed = std::env::var("SLUICE_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()));
    println!("SLUICE_TEST_SEED={seed}");
    let mut rig = Rig::with(|settings| {
        settings.max_store_bytes = Some(1 << 30);
        settings.min_free_bytes = FLOOR;
    });
    let root = rig.path().to_path_buf();
    let free = move || {
        let used: u64 = ["bodies", "tmp", "quarantine"]
            .iter()
            .map(|folder| disk_bytes_below(&root.join(folder)))
            .sum();
        DISK.saturating_sub(used)
    };
    rig.settings.probe = Some(Probe::new(|_| None).with_free_space(free.clone()));
    let store = rig.open_ready().await;
    let dice = noise(seed, 8 * 300);
    let (mut stored, mut refused) = (0, 0);
    for (step, dice) in (0_u64..).zip(dice.chunks_exact(8)) {
        let name = (dice[0] % 60).to_string();
        if dice[1] % 8 == 0 {
            store.remove(&key(&name)).await;
        } else {
            let size = usize::from(dice[2]) * usize::from(dice[3]) * 20;
            let length = (dice[4] % 2 == 0).then(|| u64::try_from(size).unwrap());
            match store.begin(&key(&name), length).await {
                Ok(mut writer) => {
                    if writer.write(noise(step, size).into()).await.is_ok() {
                        let _ = writer.publish(draft(&store));
                        stored += 1;
                    }
                }
                Err(fault) => {
                    assert_eq!(fault, StoreFault::NoRoom, "seed {seed}");
                    refused += 1;
                }
            }
            settle(&store).await;
        }
        assert!(
            free() >= FLOOR,
            "seed {seed}: {} free at step {step}",
            free()
        );
    }
    assert!(
        stored > 100,
        "seed {seed}: {stored} stored, {refused} refused"
    );
    assert!(store.usage().evictions > 10, "seed {seed}");
    let tmp = rig.path().join("tmp");
    until(|| fs::read_dir(&tmp).unwrap().count() == 0).await;
    assert_accounts(&store, rig.path());
}

fn disk_bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let bytes = |path: &Path| match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => disk_bytes_below(path),
        Ok(metadata) => platform::disk_bytes(&metadata, platform::Portability::Native),
        Err(_) => 0,
    };
    entries
        .filter_map(|entry| Some(bytes(&entry.ok()?.path())))
        .sum()
}
