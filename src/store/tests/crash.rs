//! Crashes: a copy of the folder is taken before every step of a write, a deletion and an eviction, and each copy is
//! opened like a machine that lost its process there.

use super::*;

/// Copies the folder at every step while it is armed.
#[derive(Clone, Debug)]
struct Camera {
    folder: std::path::PathBuf,
    film: Arc<Mutex<Film>>,
}

#[derive(Debug, Default)]
struct Film {
    armed: bool,
    copies: Vec<(Step, TempDir)>,
}

impl Camera {
    fn shoot(&self, step: Step) {
        let mut film = self.film.lock().unwrap();
        if film.armed {
            let copy = TempDir::new().unwrap();
            copy_folder(&self.folder, copy.path());
            film.copies.push((step, copy));
        }
    }

    fn arm(&self) {
        self.film.lock().unwrap().armed = true;
    }

    fn develop(&self) -> Vec<(Step, TempDir)> {
        std::mem::take(&mut *self.film.lock().unwrap()).copies
    }
}

fn filmed() -> (Rig, Camera) {
    let mut rig = Rig::new();
    let camera = Camera {
        folder: rig.path().to_path_buf(),
        film: Arc::default(),
    };
    let shot = camera.clone();
    rig.settings.probe = Some(Probe::new(move |step| {
        shot.shoot(step);
        None
    }));
    (rig, camera)
}

/// Opens a copy and checks everything that must hold whatever was lost; then says what is stored under each key.
async fn reopen(rig: &Rig, copy: &Path, keys: &[Key]) -> Vec<Option<Bytes>> {
    let mut settings = rig.settings.clone();
    settings.data_dir = copy.to_path_buf();
    settings.probe = None;
    let store = Store::open(settings, rig.clock.clone(), Tasks::new())
        .await
        .unwrap();
    // While the index opens, and once it is open.
    let mut seen = Vec::new();
    for round in 0..2 {
        for key in keys {
            let bytes = match store.lookup(key).await {
                Lookup::Absent => None,
                lookup => {
                    let stored = found(lookup);
                    let bytes = stored.body.read_all().await.unwrap();
                    let sha512 = ring::digest::digest(&ring::digest::SHA512, &bytes);
                    assert_eq!(sha512.as_ref(), stored.entry.sha512, "a partial body");
                    Some(bytes)
                }
            };
            seen.push(bytes);
        }
        if round == 0 {
            until(|| store.usage().index == IndexState::Ready).await;
            settle(&store).await;
        }
    }
    let after = seen.split_off(keys.len());
    assert_eq!(seen, after);
    assert_accounts(&store, copy);
    assert_eq!(store.usage().index_deaths, 0);
    assert_eq!(store.usage().quarantined, 0);
    store.close(Duration::from_secs(5)).await;
    after
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_step_of_a_write_leaves_the_old_or_the_new_body() {
    let (rig, camera) = filmed();
    let store = rig.open_ready().await;
    let (old, new) = (noise(1, 400_000), noise(2, 700_000));
    put(&store, &key("a"), &old).await;
    settle(&store).await;
    camera.arm();
    put(&store, &key("a"), &new).await;
    put(&store, &key("b"), &new).await;
    settle(&store).await;
    let copies = camera.develop();
    for step in [
        Step::Reserve,
        Step::Write,
        Step::Trailer,
        Step::Sync,
        Step::Rename,
        Step::Row,
    ] {
        assert!(copies.iter().any(|(at, _)| *at == step), "no {step:?}");
    }
    for (step, copy) in copies {
        let seen = reopen(&rig, copy.path(), &[key("a"), key("b")]).await;
        let a = seen[0].as_ref().unwrap();
        assert!(*a == old || *a == new, "{step:?}");
        assert!(seen[1].as_ref().is_none_or(|b| *b == new), "{step:?}");
    }
    let seen = reopen(&rig, rig_copy(&rig).path(), &[key("a"), key("b")]).await;
    assert_eq!(seen, [Some(Bytes::from(new.clone())), Some(new.into())]);
}

fn rig_copy(rig: &Rig) -> TempDir {
    let copy = TempDir::new().unwrap();
    copy_folder(rig.path(), copy.path());
    copy
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_step_of_a_deletion_leaves_all_or_nothing() {
    let (rig, camera) = filmed();
    let store = rig.open_ready().await;
    put(&store, &key("a"), &noise(1, 100_000)).await;
    put(&store, &key("b"), &noise(2, 100_000)).await;
    settle(&store).await;
    camera.arm();
    store.remove(&key("a")).await;
    let choice = Choice::everything(Scope::new(["nuget"], Some("b")));
    store.purge(&choice, &Progress::default()).await;
    settle(&store).await;
    let copies = camera.develop();
    assert!(copies.iter().any(|(at, _)| *at == Step::Unlink));
    let mut states = Vec::new();
    for (_, copy) in copies {
        let seen = reopen(&rig, copy.path(), &[key("a"), key("b")]).await;
        states.push((seen[0].is_some(), seen[1].is_some()));
    }
    assert_eq!(states.first(), Some(&(true, true)));
    assert!(states.is_sorted_by(|one, other| one >= other), "{states:?}");
    let seen = reopen(&rig, rig_copy(&rig).path(), &[key("a"), key("b")]).await;
    assert_eq!(seen, [None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_a_body_grows_leaves_nothing_of_it() {
    let (rig, camera) = filmed();
    let store = rig.open_ready().await;
    camera.arm();
    let mut writer = store.begin(&key("a"), Some(2_000_000)).await.unwrap();
    for _ in 0..4 {
        writer.write(noise(3, 400_000).into()).await.unwrap();
        camera.shoot(Step::Write);
    }
    for (_, copy) in camera.develop() {
        assert_eq!(reopen(&rig, copy.path(), &[key("a")]).await, [None]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_name_and_row_costs_a_document_its_freshness_and_nothing_else() {
    let (rig, camera) = filmed();
    let store = rig.open_ready().await;
    put(&store, &key("a"), b"replaced").await;
    settle(&store).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    camera.arm();
    let stored = put(&store, &key("a"), b"body").await;
    settle(&store).await;
    let copies = camera.develop();
    let (_, copy) = copies.iter().find(|(at, _)| *at == Step::Row).unwrap();
    let rig = Rig {
        settings: Settings {
            data_dir: copy.path().to_path_buf(),
            probe: None,
            ..rig.settings.clone()
        },
        ..rig
    };
    let store = rig.open_ready().await;
    let adopted = found(store.lookup(&key("a")).await).entry;
    assert!(adopted.epoch < store.gate("nuget", Some("a")).epoch);
    assert_eq!(adopted.validated_at, stored.entry.validated_at);
    assert_eq!(adopted.sha512, stored.entry.sha512);
    assert_eq!(store.usage().adopted, 1);
}
