//! Marks on stored responses: what outlives a restart, what goes with its body, what is found of an id.

use super::*;

fn since(rig: &Rig) -> SystemTime {
    rig.clock.now()
}

fn mark(name: &str, since: SystemTime) -> Mark {
    Mark {
        key: key(name),
        since,
        detail: format!("why {name}"),
    }
}

fn has_any(store: &Store) -> bool {
    MarkKind::ALL.iter().any(|kind| store.has_marks(*kind))
}

fn names(found: Option<Vec<Named>>) -> Vec<String> {
    let found = found.expect("the index is there");
    let mut names: Vec<String> = found
        .iter()
        .map(|named| named.key.rest().to_owned())
        .collect();
    names.sort();
    names
}

fn version(id: &str, version: &str) -> Key {
    Key::new(&Parts {
        feed: "nuget",
        id: Some(id),
        class: "package",
        rest: version,
        ..Parts::default()
    })
}

#[tokio::test(start_paused = true)]
async fn marks_survive_a_restart_and_so_does_their_end() {
    let rig = Rig::new();
    let store = rig.open_ready().await;
    let now = since(&rig);
    for name in ["kept", "ended"] {
        put(&store, &key(name), b"body").await;
        for kind in MarkKind::ALL {
            assert!(store.mark(kind, mark(name, now)));
        }
    }
    for kind in MarkKind::ALL {
        store.end_mark(kind, &key("ended"));
    }
    store.end_mark(MarkKind::Disputed, &key("kept"));
    assert!(store.mark(
        MarkKind::Disputed,
        mark("kept", now + Duration::from_secs(5))
    ));
    settle(&store).await;
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    for (kind, since) in [
        (MarkKind::Disputed, now + Duration::from_secs(5)),
        (MarkKind::Unsigned, now),
        (MarkKind::Withdrawn, now),
    ] {
        assert_eq!(store.mark_of(kind, &key("kept")), Some(mark("kept", since)));
        assert!(!store.mark(kind, mark("kept", now + Duration::from_secs(9))));
        assert_eq!(store.mark_of(kind, &key("ended")), None);
        assert_eq!(store.marks(kind).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_ends_before_its_row_is_loaded_does_not_come_back() {
    let rig = Rig::new();
    let store = rig.open_ready().await;
    put(&store, &key("a"), b"body").await;
    for kind in MarkKind::ALL {
        store.mark(kind, mark("a", since(&rig)));
    }
    settle(&store).await;
    store.close(Duration::from_secs(5)).await;
    for _ in 0..2 {
        let store = rig.open().await;
        for kind in MarkKind::ALL {
            store.end_mark(kind, &key("a"));
        }
        until(|| store.usage().index == IndexState::Ready).await;
        assert!(!has_any(&store));
        settle(&store).await;
        store.close(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_mark_goes_with_its_body_however_that_goes() {
    let rig = Rig::with(|settings| settings.max_store_bytes = Some(12 << 20));
    let store = rig.open_ready().await;
    let all = ["evicted", "purged", "removed", "rotten"];
    for name in all {
        let stored = put(&store, &key(name), &noise(1, 1000)).await;
        settle(&store).await;
        for kind in MarkKind::ALL {
            store.mark(kind, mark(name, since(&rig)));
            assert!(store.has_marks(kind));
        }
        match name {
            "purged" => {
                let choice = Choice::everything(Scope::new(["nuget"], Some(name)));
                store.purge(&choice, &Progress::default()).await;
            }
            "removed" => store.remove(&key(name)).await,
            "rotten" => store.quarantine(&stored, "a test").await,
            _ => {
                for n in 0..40 {
                    put(&store, &key(&n.to_string()), &noise(n, 1 << 20)).await;
                    settle(&store).await;
                }
            }
        }
        assert!(!has_any(&store), "{name}");
    }
    settle(&store).await;
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    assert!(!has_any(&store));
}

#[tokio::test(start_paused = true)]
async fn a_lost_index_loses_marks_and_no_body() {
    let rig = Rig::new();
    let store = rig.open_ready().await;
    put(&store, &key("a"), b"body").await;
    store.mark(MarkKind::Withdrawn, mark("a", since(&rig)));
    settle(&store).await;
    store.close(Duration::from_secs(5)).await;
    fs::remove_dir_all(rig.path().join("index-1")).unwrap();
    let store = rig.open_ready().await;
    assert!(!has_any(&store));
    assert_eq!(body_of(&store, &key("a")).await, &b"body"[..]);
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_of_an_id_is_told_with_its_times() {
    let rig = Rig::new();
    let store = rig.open_ready().await;
    for (id, number) in [("a", "1.0.0"), ("a", "2.0.0"), ("b", "3.0.0")] {
        put(&store, &version(id, number), b"body").await;
    }
    settle(&store).await;
    assert_eq!(
        names(store.stored_of("nuget", "a").await),
        ["1.0.0", "2.0.0"]
    );
    assert_eq!(names(store.stored_of("nuget", "c").await), [""; 0]);
    assert_eq!(names(store.stored_of("other", "a").await), [""; 0]);
    let stored = found(store.lookup(&version("a", "1.0.0")).await);
    let later = rig.clock.now() + Duration::from_secs(60);
    store.refresh(&stored, later, stored.entry.epoch, None);
    store.remove(&version("a", "2.0.0")).await;
    settle(&store).await;
    let found = store.stored_of("nuget", "a").await.expect("an index");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].validated_at, later);
}
