//! The scrub reads everything once within its time, finds what rotted, goes on after a restart, and can be off.

use super::*;

const PASS: Duration = Duration::from_secs(86_400);

async fn filled(rig: &Rig) -> Store {
    let store = rig.open_ready().await;
    for n in 0..40 {
        put(&store, &key(&n.to_string()), &noise(n, 10_000)).await;
    }
    settle(&store).await;
    store
}

fn rot(rig: &Rig, name: &Key) {
    let name = name.to_string();
    for folder in fs::read_dir(rig.path().join("bodies")).unwrap() {
        let path = folder.unwrap().path().join(&name);
        if let Ok(mut bytes) = fs::read(&path) {
            bytes[5000] ^= 4;
            fs::write(path, bytes).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn everything_is_read_once_within_its_time_and_what_rotted_is_set_aside() {
    let rig = Rig::with(|settings| settings.scrub_every = Some(PASS));
    let store = filled(&rig).await;
    rot(&rig, &key("7"));
    tokio::time::sleep(PASS / 2).await;
    let half = store.usage();
    assert!(
        (100_000..300_000).contains(&half.scrubbed_bytes),
        "{half:?}"
    );
    assert_eq!(half.scrub_completed, None);
    tokio::time::sleep(PASS / 2 + Duration::from_secs(600)).await;
    let usage = store.usage();
    assert_eq!(usage.scrubbed_bytes, 400_000);
    assert_eq!((usage.scrub_damaged, usage.quarantined), (1, 1));
    assert!(usage.scrub_completed.is_some());
    assert!(is_absent(&store.lookup(&key("7")).await));
    assert_eq!(body_of(&store, &key("8")).await, noise(8, 10_000));
    settle(&store).await;
    assert_accounts(&store, rig.path());
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_where_it_was() {
    let rig = Rig::with(|settings| settings.scrub_every = Some(PASS));
    let store = filled(&rig).await;
    tokio::time::sleep(PASS / 2).await;
    let before = store.usage().scrubbed_bytes;
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    tokio::time::sleep(PASS / 2 + Duration::from_secs(600)).await;
    let usage = store.usage();
    // At most the folder that was being read is read again.
    let read = usage.scrubbed_bytes + before;
    assert!((400_000..=430_000).contains(&read), "{read}");
    let completed = usage.scrub_completed;
    assert!(completed.is_some());
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    until(|| store.usage().scrub_completed == completed).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_off_where_it_is_switched_off() {
    let rig = Rig::with(|settings| settings.scrub_every = None);
    let store = filled(&rig).await;
    tokio::time::sleep(2 * PASS).await;
    assert_eq!(store.usage().scrubbed_bytes, 0);
    store
        .reload(&Settings {
            scrub_every: Some(PASS),
            ..rig.settings.clone()
        })
        .await;
    tokio::time::sleep(PASS + Duration::from_secs(600)).await;
    // All that long it was owed nothing, and the next pass has hardly begun.
    let read = store.usage().scrubbed_bytes;
    assert!((400_000..=430_000).contains(&read), "{read}");
}
