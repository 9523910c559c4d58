//! Bodies that broke off: what is kept of them, for how long, and at whose cost.

use super::*;

const QUARTER: Duration = Duration::from_secs(15 * 60);
const MIB: usize = 1 << 20;

/// The first `bytes` of a body of `total`, kept.
async fn kept(store: &Store, key: &Key, bytes: &[u8], total: usize) -> Option<Partial> {
    let mut writer = store.begin(key, u64::try_from(total).ok()).await.unwrap();
    for chunk in bytes.chunks(50_000) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    writer.keep().await
}

fn temporary_files(rig: &Rig) -> usize {
    fs::read_dir(rig.path().join("tmp")).unwrap().count()
}

#[tokio::test(start_paused = true)]
async fn a_body_goes_on_where_it_broke_off() {
    let rig = Rig::new();
    let store = rig.open_ready().await;
    let whole = noise(1, 3 * MIB);
    for at in [1, 100_000, 2 * MIB + 17] {
        let name = key(&at.to_string());
        let partial = kept(&store, &name, &whole[..at], whole.len())
            .await
            .unwrap();
        assert_eq!(partial.written(), u64::try_from(at).unwrap());
        assert!(partial.is_kept());
        let held = store.usage();
        assert_eq!(held.partials, 1);
        assert_eq!(held.partial_bytes, held.reserved_bytes);
        let mut writer = partial.resume().await.unwrap();
        assert_eq!(store.usage().partials, 0);
        assert_eq!(store.usage().reserved_bytes, held.reserved_bytes);
        assert_eq!(writer.body().read_all().await.unwrap(), whole[..at]);
        for chunk in whole[at..].chunks(70_000) {
            writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        let in_one = put(&store, &key("whole"), &whole).await;
        let stored = writer.publish(draft(&store));
        assert_eq!(stored.entry.sha512, in_one.entry.sha512);
        assert!(stored.entry.sequence > 0);
        settle(&store).await;
        assert_eq!(body_of(&store, &name).await, whole);
    }
    let store = {
        store.close(Duration::from_secs(5)).await;
        rig.open_ready().await
    };
    // The checksum in its trailer is that of the whole.
    assert_eq!(body_of(&store, &key("1")).await, whole);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(store.usage().quarantined, 0);
}

#[tokio::test(start_paused = true)]
async fn what_goes_on_replaces_what_was_stored_meanwhile() {
    let rig = Rig::new();
    let store = rig.open_ready().await;
    let (name, whole) = (key("a"), noise(1, 300_000));
    let (beginning, rest) = whole.split_at(100_000);
    let partial = kept(&store, &name, beginning, whole.len()).await.unwrap();
    let meanwhile = put(&store, &name, &noise(2, 200_000)).await;
    settle(&store).await;
    let mut writer = partial.resume().await.unwrap();
    writer.write(Bytes::copy_from_slice(rest)).await.unwrap();
    let stored = writer.publish(draft(&store));
    assert!(stored.entry.sequence > meanwhile.entry.sequence);
    settle(&store).await;
    assert_eq!(body_of(&store, &name).await, whole);
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    assert_eq!(body_of(&store, &name).await, whole);
}

#[tokio::test(start_paused = true)]
async fn it_is_deleted_after_a_quarter_of_an_hour_or_when_it_is_dropped() {
    let rig = Rig::new();
    let store = rig.open_ready().await;
    let bytes = noise(1, 300_000);
    let partial = kept(&store, &key("a"), &bytes, MIB).await.unwrap();
    tokio::time::sleep(QUARTER - Duration::from_secs(1)).await;
    assert!(partial.is_kept());
    assert_eq!(temporary_files(&rig), 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!partial.is_kept());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(store.usage().reserved_bytes, 0);
    assert_eq!(temporary_files(&rig), 0);
    assert!(partial.resume().await.is_none());
    let partial = kept(&store, &key("a"), &bytes, MIB).await.unwrap();
    drop(partial);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(store.usage().reserved_bytes, 0);
    assert_eq!(temporary_files(&rig), 0);
}

#[tokio::test(start_paused = true)]
async fn its_room_is_the_first_to_go() {
    let rig = Rig::with(|settings| settings.max_store_bytes = Some(12 << 20));
    let store = rig.open_ready().await;
    let some = noise(1, 10_000);
    let oldest = kept(&store, &key("a"), &some, MIB).await.unwrap();
    let partial = kept(&store, &key("b"), &some, MIB).await.unwrap();
    let mut is_alone = false;
    for n in 0..12 {
        if !partial.is_kept() {
            break;
        }
        assert_eq!(store.usage().evictions, 0);
        put(&store, &key(&n.to_string()), &noise(n, MIB)).await;
        settle(&store).await;
        let (first, second) = (oldest.is_kept(), partial.is_kept());
        assert!(second || !first, "the oldest goes first");
        is_alone |= second && !first;
    }
    assert!(is_alone && !partial.is_kept());
    let usage = store.usage();
    assert_eq!((usage.evictions, usage.partials), (0, 0), "{usage:?}");
    assert!(usage.entries >= 6, "{usage:?}");
    assert_eq!(temporary_files(&rig), 0);
    assert!(partial.resume().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn they_are_few_and_take_a_quarter_of_the_cap_at_most() {
    let rig = Rig::with(|settings| settings.max_store_bytes = Some(64 << 20));
    let store = rig.open_ready().await;
    let some = noise(1, 1000);
    let mut all = Vec::new();
    for n in 0..40 {
        let name = key(&n.to_string());
        all.push(kept(&store, &name, &some, 100_000).await.unwrap());
    }
    let count = all.iter().filter(|partial| partial.is_kept()).count();
    assert_eq!((count, store.usage().partials), (32, 32));
    assert!(!all[7].is_kept() && all[8].is_kept(), "the oldest go first");
    for n in 0..5 {
        let name = key(&format!("large{n}"));
        all.push(kept(&store, &name, &some, 5 * MIB).await.unwrap());
        assert!(store.usage().partial_bytes <= 16 << 20);
    }
    assert!(all.last().unwrap().is_kept());
    let too_large = kept(&store, &key("too large"), &some, 17 * MIB).await;
    assert!(too_large.is_none());
    assert!(all.last().unwrap().is_kept());
}

#[tokio::test(start_paused = true)]
async fn a_purge_a_fault_and_the_end_leave_none() {
    let (rig, saboteur) = sabotaged();
    let store = rig.open_ready().await;
    let some = noise(1, 1000);
    let purged = kept(&store, &key("a"), &some, MIB).await.unwrap();
    let other = kept(&store, &key("b"), &some, MIB).await.unwrap();
    let choice = Choice::everything(Scope::new(["nuget"], Some("a")));
    store.purge(&choice, &Progress::default()).await;
    assert!(!purged.is_kept() && other.is_kept());
    let empty = store.begin(&key("c"), Some(1000)).await.unwrap();
    assert!(empty.keep().await.is_none());
    saboteur.put(Step::Write, Fault::Io(std::io::ErrorKind::StorageFull));
    assert!(kept(&store, &key("d"), &some, MIB).await.is_none());
    saboteur.stop();
    store.close(Duration::from_secs(5)).await;
    assert!(!other.is_kept());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(temporary_files(&rig), 0);
}
