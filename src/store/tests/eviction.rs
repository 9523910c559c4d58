//! Room: the cap holds whatever happens, and what a random run stores is what a plain map says.

use super::*;

const CAP: u64 = 12 << 20;

fn capped() -> Rig {
    Rig::with(|settings| settings.max_store_bytes = Some(CAP))
}

#[track_caller]
fn assert_below_cap(store: &Store) {
    let usage = store.usage();
    let taken = usage.body_bytes + usage.reserved_bytes + usage.lingering_bytes + usage.index_bytes;
    assert!(taken <= CAP, "{taken} bytes of {CAP}: {usage:?}");
}

#[tokio::test(start_paused = true)]
async fn old_bodies_go_for_new_ones() {
    let rig = capped();
    let store = rig.open_ready().await;
    for n in 0..40 {
        let name = n.to_string();
        put(&store, &key(&name), &noise(n, 1 << 20)).await;
        assert_below_cap(&store);
        settle(&store).await;
        assert_below_cap(&store);
    }
    let usage = store.usage();
    assert!(usage.evictions >= 28, "{usage:?}");
    assert_eq!(body_of(&store, &key("39")).await, noise(39, 1 << 20));
    assert!(is_absent(&store.lookup(&key("0")).await));
    settle(&store).await;
    assert_accounts(&store, rig.path());
}

#[tokio::test(start_paused = true)]
async fn what_is_used_outlives_a_scan() {
    let rig = capped();
    let store = rig.open_ready().await;
    put(&store, &key("used"), &noise(1, 100_000)).await;
    settle(&store).await;
    for _ in 0..3 {
        store.note_use(&key("used"));
    }
    for n in 0..40 {
        put(&store, &key(&n.to_string()), &noise(n, 1 << 20)).await;
        settle(&store).await;
    }
    assert_eq!(body_of(&store, &key("used")).await, noise(1, 100_000));
}

#[tokio::test(start_paused = true)]
async fn uses_outlive_a_restart() {
    let rig = capped();
    let store = rig.open_ready().await;
    for name in ["used", "unused"] {
        put(&store, &key(name), &noise(1, 100_000)).await;
    }
    settle(&store).await;
    store.note_use(&key("used"));
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    for n in 0..30 {
        put(&store, &key(&n.to_string()), &noise(n, 1 << 20)).await;
        settle(&store).await;
    }
    assert!(is_absent(&store.lookup(&key("unused")).await));
    assert_eq!(body_of(&store, &key("used")).await, noise(1, 100_000));
}

#[tokio::test(start_paused = true)]
async fn a_body_without_room_is_refused_before_its_first_byte_or_at_the_byte() {
    let rig = capped();
    let store = rig.open_ready().await;
    let refused = store.begin(&key("a"), Some(CAP + 1)).await;
    assert_eq!(refused.unwrap_err(), StoreFault::NoRoom);
    let mut writer = store.begin(&key("a"), None).await.unwrap();
    let mut outcome = Ok(());
    let mut chunks = 0;
    while outcome.is_ok() {
        outcome = writer.write(noise(chunks, 1 << 20).into()).await;
        assert_below_cap(&store);
        chunks += 1;
    }
    assert_eq!(outcome, Err(StoreFault::NoRoom));
    assert!((5..13).contains(&chunks), "{chunks} MiB");
}

#[tokio::test(start_paused = true)]
async fn bytes_of_an_evicted_body_count_until_its_last_reader_ends() {
    let rig = capped();
    let store = rig.open_ready().await;
    let mut readers = Vec::new();
    for n in 0..8 {
        readers.push(put(&store, &key(&n.to_string()), &noise(n, 1 << 20)).await);
        settle(&store).await;
    }
    let refused = store.begin(&key("large"), Some(9 << 20)).await;
    assert_eq!(refused.unwrap_err(), StoreFault::NoRoom);
    assert_below_cap(&store);
    // No more go than would do if they were not read.
    assert!(store.usage().lingering_bytes >= 5 << 20);
    for (n, reader) in (0..).zip(&readers) {
        assert_eq!(reader.body.read_all().await.unwrap(), noise(n, 1 << 20));
    }
    readers.clear();
    assert_eq!(store.usage().lingering_bytes, 0);
    assert!(store.begin(&key("large"), Some(9 << 20)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_floor_of_free_space_is_kept() {
    let rig = Rig::with(|settings| settings.min_free_bytes = u64::MAX / 2);
    let store = rig.open_ready().await;
    let refused = store.begin(&key("a"), Some(10)).await;
    assert_eq!(refused.unwrap_err(), StoreFault::NoRoom);
    assert_eq!(store.usage().reserved_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lower_cap_shrinks_the_store_at_its_next_start() {
    let rig = capped();
    let store = rig.open_ready().await;
    for n in 0..8 {
        put(&store, &key(&n.to_string()), &noise(n, 1 << 20)).await;
    }
    store.close(Duration::from_secs(5)).await;
    let rig = Rig {
        settings: Settings {
            max_store_bytes: Some(5 << 20),
            ..rig.settings.clone()
        },
        ..rig
    };
    let store = rig.open_ready().await;
    until(|| store.usage().body_bytes <= 5 << 20).await;
    assert!(store.usage().entries >= 2);
}

/// Random calls against a map of what was stored last under each key. The store may have evicted, but never has it
/// anything else; the cap holds after every call and the accounts are right at the end and after a restart.
#[tokio::test(start_paused = true)]
async fn a_random_run_agrees_with_a_map() {
    let seed = std::env::var("SLUICE_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()));
    println!("SLUICE_TEST_SEED={seed}");
    let rig = capped();
    let mut store = rig.open_ready().await;
    let mut model: HashMap<String, Vec<u8>> = HashMap::new();
    let mut readers: Vec<(Stored, Vec<u8>)> = Vec::new();
    let mut evictions = 0;
    let dice = noise(seed, 8 * 600);
    for (step, dice) in (0_u64..).zip(dice.chunks_exact(8)) {
        let name = (dice[0] % 60).to_string();
        match dice[1] % 16 {
            0..7 => {
                let size = usize::from(dice[2]) * usize::from(dice[3]) * 20;
                let bytes = noise(step, size);
                if let Ok(mut writer) = store.begin(&key(&name), None).await
                    && writer.write(bytes.clone().into()).await.is_ok()
                {
                    let _ = writer.publish(draft(&store));
                    model.insert(name, bytes);
                }
            }
            7..12 => match store.lookup(&key(&name)).await {
                Lookup::Found(stored) => {
                    let expected = &model[&name];
                    let bytes = stored.body.read_all().await.unwrap();
                    assert!(
                        bytes == *expected,
                        "seed {seed}: {name} is not what was stored"
                    );
                    store.note_use(&key(&name));
                    if dice[4] % 4 == 0 {
                        readers.push((stored, bytes.to_vec()));
                    }
                }
                Lookup::Absent => {}
                Lookup::Unavailable(fault) => panic!("seed {seed}: {fault}"),
            },
            12 => {
                store.remove(&key(&name)).await;
                model.remove(&name);
                assert!(is_absent(&store.lookup(&key(&name)).await), "seed {seed}");
            }
            13 => {
                for (stored, bytes) in readers.drain(..) {
                    assert_eq!(stored.body.read_all().await.unwrap(), bytes, "seed {seed}");
                }
            }
            14 => tokio::time::sleep(Duration::from_millis(dice[2].into())).await,
            _ if dice[2] % 8 == 0 => {
                readers.clear();
                evictions += store.usage().evictions;
                store.close(Duration::from_secs(5)).await;
                store = rig.open_ready().await;
            }
            _ => settle(&store).await,
        }
        assert_below_cap(&store);
    }
    readers.clear();
    settle(&store).await;
    let tmp = rig.path().join("tmp");
    until(|| fs::read_dir(&tmp).unwrap().count() == 0).await;
    assert_accounts(&store, rig.path());
    evictions += store.usage().evictions;
    assert!(evictions > 10, "seed {seed}: {evictions} evictions");
}

#[tokio::test(start_paused = true)]
async fn a_lower_cap_evicts_at_once_and_a_higher_one_makes_room() {
    let rig = Rig::with(|settings| settings.max_store_bytes = Some(4 * CAP));
    let store = rig.open_ready().await;
    for n in 0..20 {
        put(&store, &key(&n.to_string()), &noise(n, 1 << 20)).await;
    }
    settle(&store).await;
    assert_eq!(store.usage().evictions, 0);
    let capped = |cap| Settings {
        max_store_bytes: Some(cap),
        min_free_bytes: 0,
        ..Settings::default()
    };
    store.reload(&capped(CAP)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_below_cap(&store);
    assert!(store.usage().evictions >= 8, "{:?}", store.usage());
    assert_accounts(&store, rig.path());
    let before = store.usage().evictions;
    store.reload(&capped(4 * CAP)).await;
    for n in 20..30 {
        put(&store, &key(&n.to_string()), &noise(n, 1 << 20)).await;
    }
    settle(&store).await;
    assert_eq!(store.usage().evictions, before);
}

#[tokio::test(start_paused = true)]
async fn the_default_cap_returns_and_the_floor_holds_from_now_on() {
    let rig = capped();
    let store = rig.open_ready().await;
    let settings = |min_free_bytes| Settings {
        max_store_bytes: None,
        min_free_bytes,
        ..Settings::default()
    };
    store.reload(&settings(0)).await;
    let usage = store.usage();
    assert!(
        usage.max_store_bytes > CAP && usage.max_store_bytes <= 10 << 30,
        "{usage:?}"
    );
    put(&store, &key("before"), &noise(1, 1000)).await;
    // More than any disk has.
    store.reload(&settings(1 << 60)).await;
    let refused = store.begin(&key("after"), Some(1000)).await;
    assert!(matches!(refused, Err(StoreFault::NoRoom)));
}
