//! What every caller may rely on while nothing fails.

use super::*;
use crate::cache::entry::Absence;
use http::header::CONTENT_TYPE;
use std::io::{Read as _, Seek as _, SeekFrom};

#[tokio::test(start_paused = true)]
async fn an_entry_is_found_at_once_later_and_after_a_restart() {
    let rig = Rig::new();
    for size in [0, 1, 300_000, 2_000_000] {
        let (key, bytes) = (key(&format!("p{size}")), noise(7, size));
        let store = rig.open().await;
        let stored = put(&store, &key, &bytes).await;
        assert_eq!(found(store.lookup(&key).await).entry, stored.entry);
        assert_eq!(body_of(&store, &key).await, bytes);
        settle(&store).await;
        assert_eq!(found(store.lookup(&key).await).entry, stored.entry);
        store.close(Duration::from_secs(5)).await;
        let again = rig.open_ready().await;
        let after = found(again.lookup(&key).await);
        assert_eq!(after.entry, stored.entry);
        assert_eq!(after.body.read_all().await.unwrap(), bytes);
        assert_eq!(after.entry.headers[CONTENT_TYPE], "application/zip");
        let expected = ring::digest::digest(&ring::digest::SHA512, &bytes);
        assert_eq!(after.entry.sha512, expected.as_ref());
        again.close(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn readers_follow_a_growing_body_byte_for_byte() {
    let rig = Rig::new();
    let store = rig.open().await;
    let bytes = noise(1, 900_000);
    let mut writer = store.begin(&key("a"), None).await.unwrap();
    let body = writer.body();
    let mut at = 0;
    for chunk in bytes.chunks(33_333) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        let to = at + chunk.len() as u64;
        assert_eq!((writer.written(), body.len()), (to, to));
        // The chunk alone, and with what came before it: memory, file, and both.
        assert_eq!(body.read(at..to).await.unwrap(), chunk);
        let from = at.saturating_sub(400_000);
        let expected = bytes[..usize::try_from(to).unwrap()].iter();
        let expected: Vec<u8> = expected
            .skip(usize::try_from(from).unwrap())
            .copied()
            .collect();
        assert_eq!(body.read(from..to).await.unwrap(), expected);
        assert_eq!(body.read(0..to + 1).await, Err(StoreFault::Truncated));
        assert!(
            body.token(0..to, || || true).is_none(),
            "a token of a growing body"
        );
        at = to;
    }
    let mut reader = body.reader();
    reader.seek(SeekFrom::End(-700_000)).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, bytes[200_000..]);
    let stored = writer.publish(draft(&store));
    assert_eq!(stored.body.read_all().await.unwrap(), bytes);
    settle(&store).await;
    assert_eq!(body.read_all().await.unwrap(), bytes);
    assert_eq!(body_of(&store, &key("a")).await, bytes);
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_stored_body_has_tokens_that_name_its_file() {
    let rig = Rig::new();
    let store = rig.open().await;
    put(&store, &key("a"), &noise(1, 700_000)).await;
    settle(&store).await;
    let stored = found(store.lookup(&key("a")).await);
    let token = store.token(&stored, 100_000..700_000).unwrap();
    let place = crate::mapped::locate(&token).unwrap();
    let mut bytes = vec![0; token.len()];
    platform::read_exact_at(place.file(), &mut bytes, place.offset()).unwrap();
    assert_eq!(bytes, noise(1, 700_000)[100_000..]);
    assert!(store.token(&stored, 0..700_001).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_writer_leaves_nothing() {
    let rig = Rig::new();
    let store = rig.open().await;
    let mut writer = store.begin(&key("a"), Some(600_000)).await.unwrap();
    writer.write(noise(1, 500_000).into()).await.unwrap();
    assert!(store.usage().reserved_bytes >= 600_000);
    drop(writer);
    let tmp = rig.path().join("tmp");
    until(|| fs::read_dir(&tmp).unwrap().count() == 0).await;
    assert_eq!(store.usage().reserved_bytes, 0);
    assert!(is_absent(&store.lookup(&key("a")).await));
}

#[tokio::test(start_paused = true)]
async fn a_reservation_counts_until_the_last_reader_of_an_aborted_body_ends() {
    let rig = Rig::new();
    let store = rig.open().await;
    let mut writer = store.begin(&key("a"), None).await.unwrap();
    writer.write(noise(1, 500_000).into()).await.unwrap();
    let body = writer.body();
    drop(writer);
    assert_eq!(body.read(0..500_000).await.unwrap(), noise(1, 500_000));
    assert!(store.usage().reserved_bytes >= 500_000);
    drop(body);
    until(|| store.usage().reserved_bytes == 0).await;
}

#[tokio::test(start_paused = true)]
async fn of_two_flights_the_later_begun_wins_whatever_their_end() {
    for older_first in [true, false] {
        let rig = Rig::new();
        let store = rig.open().await;
        let mut older = store.begin(&key("a"), None).await.unwrap();
        let mut newer = store.begin(&key("a"), None).await.unwrap();
        assert!(older.sequence() < newer.sequence());
        older.write("older".into()).await.unwrap();
        newer.write("newer".into()).await.unwrap();
        let (first, second) = if older_first {
            (older, newer)
        } else {
            (newer, older)
        };
        let early = first.publish(draft(&store));
        if !older_first {
            settle(&store).await;
        }
        let late = second.publish(draft(&store));
        settle(&store).await;
        assert_eq!(body_of(&store, &key("a")).await, "newer");
        assert_eq!(early.body.read_all().await.unwrap().len(), 5);
        assert_eq!(late.body.read_all().await.unwrap().len(), 5);
        drop((early, late));
        let tmp = rig.path().join("tmp");
        until(|| fs::read_dir(&tmp).unwrap().count() == 0).await;
        store.close(Duration::from_secs(5)).await;
        let store = rig.open_ready().await;
        assert_eq!(body_of(&store, &key("a")).await, "newer");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_is_seen_at_once_and_survives_a_restart() {
    let rig = Rig::new();
    let store = rig.open().await;
    put(&store, &key("a"), b"body").await;
    settle(&store).await;
    let stored = found(store.lookup(&key("a")).await);
    let later = stored.entry.validated_at + Duration::from_secs(60);
    let mut headers = stored.entry.headers.clone();
    headers.insert("etag", HeaderValue::from_static("\"2\""));
    store.refresh(&stored, later, Epoch(77), Some(headers));
    let check = |after: &Stored| {
        assert_eq!(after.entry.validated_at, later);
        assert_eq!(after.entry.epoch, Epoch(77));
        assert_eq!(after.entry.headers["etag"], "\"2\"");
        assert_eq!(after.entry.fetched_at, stored.entry.fetched_at);
    };
    check(&found(store.lookup(&key("a")).await));
    settle(&store).await;
    check(&found(store.lookup(&key("a")).await));
    store.close(Duration::from_secs(5)).await;
    check(&found(rig.open_ready().await.lookup(&key("a")).await));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_of_what_was_removed_or_replaced_changes_nothing() {
    let rig = Rig::new();
    let store = rig.open().await;
    let first = put(&store, &key("a"), b"first").await;
    settle(&store).await;
    put(&store, &key("a"), b"second").await;
    settle(&store).await;
    store.refresh(&first, rig.clock.now(), Epoch(9), None);
    assert_eq!(body_of(&store, &key("a")).await, "second");
    let second = found(store.lookup(&key("a")).await);
    store.remove(&key("a")).await;
    store.refresh(&second, rig.clock.now(), Epoch(9), None);
    assert!(is_absent(&store.lookup(&key("a")).await));
    settle(&store).await;
    assert!(is_absent(&store.lookup(&key("a")).await));
}

#[tokio::test(start_paused = true)]
async fn removal_spares_readers_and_is_final() {
    let rig = Rig::new();
    let store = rig.open().await;
    let stored = put(&store, &key("a"), &noise(1, 100_000)).await;
    // While its row is on its way, and after.
    store.remove(&key("a")).await;
    assert!(is_absent(&store.lookup(&key("a")).await));
    settle(&store).await;
    assert!(is_absent(&store.lookup(&key("a")).await));
    assert_eq!(stored.body.read_all().await.unwrap(), noise(1, 100_000));
    drop(stored);
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    assert!(is_absent(&store.lookup(&key("a")).await));
    assert_eq!(store.usage().entries, 0);
}

#[tokio::test(start_paused = true)]
async fn a_purge_takes_one_id_or_a_feed_and_nothing_else() {
    let rig = Rig::new();
    let store = rig.open().await;
    for (feed, id) in [("nuget", "a"), ("nuget", "b"), ("other", "a")] {
        put(&store, &key_of(feed, id), id.as_bytes()).await;
    }
    store.put_absence(&key("a"), absence(1));
    let purge = async |feed: &str, id: Option<&str>| {
        let choice = Choice::everything(Scope::new([feed], id));
        let removed = store.purge(&choice, &Progress::default()).await;
        let tallies = removed.feeds.iter();
        let counts = tallies.map(|(name, tally)| (name.clone(), tally.responses));
        (counts.collect::<Vec<_>>(), removed.absences)
    };
    let one = || vec![("nuget".to_owned(), 1)];
    assert_eq!(purge("nuget", Some("a")).await, (one(), 1));
    assert!(is_absent(&store.lookup(&key("a")).await));
    assert_eq!(store.absence(&key("a")).await, None);
    assert_eq!(body_of(&store, &key("b")).await, "b");
    settle(&store).await;
    assert_eq!(purge("nuget", None).await, (one(), 0));
    assert!(is_absent(&store.lookup(&key("b")).await));
    assert_eq!(body_of(&store, &key_of("other", "a")).await, "a");
    assert_eq!(purge("nuget", None).await, (Vec::new(), 0));
    assert_eq!(store.usage().entries, 1);
}

fn absence(epoch: u64) -> Absence {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(START);
    Absence {
        status: StatusCode::NOT_FOUND,
        epoch: Epoch(epoch),
        first_at: at,
        last_at: at + Duration::from_secs(10),
    }
}

#[tokio::test(start_paused = true)]
async fn absences_and_epochs_survive_a_restart() {
    let rig = Rig::new();
    let store = rig.open().await;
    store.put_absence(&key("a"), absence(3));
    store.put_absence(&key("b"), absence(4));
    store.forget_absence(&key("b"));
    let feed = store.raise("nuget", None, Raise::Refresh);
    let id = store.raise("nuget", Some("a"), Raise::Publish);
    let version = store.raise_version("nuget", "a", "1.0.0");
    let published = Some(rig.clock.now());
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    assert_eq!(store.absence(&key("a")).await, Some(absence(3)));
    assert_eq!(store.absence(&key("b")).await, None);
    assert!(feed < id && id < version);
    assert_eq!(store.gate("nuget", Some("a")).epoch, id);
    assert_eq!(store.gate("nuget", Some("a")).published_at, published);
    assert_eq!(store.gate("nuget", Some("b")).epoch, feed);
    assert_eq!(store.version_gate("nuget", "a", "1.0.0"), version);
    assert_eq!(store.version_gate("nuget", "a", "2.0.0"), Epoch(0));
}

#[tokio::test(start_paused = true)]
async fn absences_beyond_their_quota_go_and_their_rows_too() {
    let rig = Rig::with(|settings| settings.max_absences = 5);
    let store = rig.open().await;
    for n in 0..20 {
        store.put_absence(&key(&n.to_string()), absence(n));
    }
    assert_eq!(store.usage().absences, 5);
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    assert_eq!(store.usage().absences, 5);
    assert_eq!(store.absence(&key("19")).await, Some(absence(19)));
    assert_eq!(store.absence(&key("14")).await, None);
}

#[tokio::test(start_paused = true)]
async fn answers_are_limited_each_and_together() {
    let rig = Rig::with(|settings| {
        settings.memory_bytes = 1 << 20;
        settings.max_answer_bytes = 200_000;
    });
    let store = rig.open().await;
    let answer = |bytes: usize| {
        Arc::new(Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: noise(1, bytes).into(),
            deadline: rig.clock.now(),
            epoch: Epoch(1),
            validated_at: rig.clock.now(),
            origin: "api.nuget.org".to_owned(),
        })
    };
    store.answers().put("large", answer(200_001));
    assert!(store.answers().get("large").is_none());
    for n in 0..100 {
        store.answers().put(&n.to_string(), answer(50_000));
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (bytes, answers) = store.answers().size();
    assert!((1..=1 << 20).contains(&bytes), "{bytes} bytes");
    assert!((10..=21).contains(&answers), "{answers} answers");
    store.answers().put("small", answer(10));
    assert_eq!(store.answers().get("small").unwrap().body.len(), 10);
    store.answers().remove("small");
    assert!(store.answers().get("small").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_sequence_is_above_what_an_earlier_clock_drew() {
    let rig = Rig::new();
    let store = rig.open().await;
    let stored = put(&store, &key("a"), b"old").await;
    store.close(Duration::from_secs(5)).await;
    let rig = Rig {
        clock: Clock::simulated(SystemTime::UNIX_EPOCH + Duration::from_secs(START - 1000)),
        ..rig
    };
    let store = rig.open_ready().await;
    found(store.lookup(&key("a")).await);
    assert!(store.draw_sequence() > stored.entry.sequence);
    put(&store, &key("a"), b"new").await;
    settle(&store).await;
    assert_eq!(body_of(&store, &key("a")).await, "new");
}

#[tokio::test(start_paused = true)]
async fn no_more_bodies_are_held_open_than_allowed() {
    for max in [1, 20, 40] {
        let rig = Rig::with(|settings| settings.max_open_bodies = Some(max));
        let store = rig.open().await;
        for n in 0..60 {
            put(&store, &key(&n.to_string()), b"body").await;
        }
        settle(&store).await;
        for n in 0..60 {
            assert_eq!(body_of(&store, &key(&n.to_string())).await, "body");
            assert!(store.usage().open_bodies <= max);
        }
        let open = store.usage().open_bodies;
        assert!(open > max / 2, "{open} of {max}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_counts_though_the_clock_was_ahead_when_the_one_before_came() {
    let rig = Rig::new();
    let store = rig.open_ready().await;
    let stored = put(&store, &key("a"), b"body").await;
    settle(&store).await;
    assert_eq!(body_of(&store, &key("a")).await, "body");
    let right = rig.clock.now() - Duration::from_secs(10 * 86_400);
    rig.clock.set(right);
    store.refresh(&stored, right, Epoch(8), None);
    settle(&store).await;
    let entry = found(store.lookup(&key("a")).await).entry;
    assert_eq!((entry.validated_at, entry.epoch), (right, Epoch(8)));
}
