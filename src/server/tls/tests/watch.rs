//! Changed files and the end of the pair in use, on a paused clock.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tracing::subscriber::DefaultGuard;

use super::*;
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;
use made::write;

/// What was logged on this thread since this was made.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Logged {
    fn begin() -> (Self, DefaultGuard) {
        let logged = Self::default();
        let writer = logged.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (logged, tracing::subscriber::set_default(subscriber))
    }

    fn count(&self, text: &str) -> usize {
        let logged = self.0.lock().unwrap();
        String::from_utf8_lossy(&logged).matches(text).count()
    }
}

/// A watched pair.
struct Scene {
    certificates: Certificates,
    telemetry: Telemetry,
    logged: Logged,
    _guard: DefaultGuard,
}

impl Scene {
    fn new(settings: &Settings) -> Self {
        let (logged, guard) = Logged::begin();
        let clock = Clock::simulated(now());
        let certificates = Certificates::open(settings, &clock).unwrap().unwrap();
        let telemetry = Telemetry::new();
        certificates.watch(&telemetry, &Tasks::new());
        Self {
            certificates,
            telemetry,
            logged,
            _guard: guard,
        }
    }

    fn metric(&self, line: &str) -> bool {
        self.telemetry
            .render()
            .lines()
            .any(|rendered| rendered == line)
    }

    fn end(&self) -> SystemTime {
        self.certificates.pair().expires_at()
    }
}

/// So many looks at the files.
async fn looks(count: u32) {
    let millis = Duration::from_millis(500);
    tokio::time::sleep(certificates::LOOK_INTERVAL * count + millis).await;
}

fn replace(folder: &Path, leaf: &Leaf) {
    write(folder, "chain.pem", &leaf.pem);
    write(folder, "key.pem", leaf.key.serialize_pem());
}

#[tokio::test(start_paused = true)]
async fn changed_files_are_taken_up_and_wrong_ones_told_once_and_left() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::root("Root");
    let first = root.leaf_until(&["a.example"], (2028, 1, 1));
    let second = root.leaf_until(&["a.example"], (2029, 1, 1));
    let scene = Scene::new(&pem(folder.path(), &first, &[]));
    let first_end = scene.end();
    assert!(scene.metric("sluice_tls_certificate_expiry_seconds 1830297600"));

    replace(folder.path(), &second);
    looks(1).await;
    let second_end = scene.end();
    assert!(second_end > first_end);
    assert!(scene.metric("sluice_tls_certificate_expiry_seconds 1861920000"));
    assert!(scene.metric("sluice_tls_certificate_reloads_total{result=\"taken\"} 1"));

    // Halfway: the certificate is there and its key is not yet.
    let third = root.leaf_until(&["a.example"], (2030, 1, 1));
    write(folder.path(), "chain.pem", &third.pem);
    looks(1).await;
    assert_eq!(scene.logged.count("are wrong"), 0);
    looks(20).await;
    assert_eq!(scene.logged.count("are wrong"), 1);
    assert_eq!(
        scene
            .logged
            .count("a certificate that the private key belongs to"),
        1
    );
    assert!(scene.metric("sluice_tls_certificate_reloads_total{result=\"failed\"} 1"));
    assert_eq!(scene.end(), second_end);

    write(folder.path(), "key.pem", third.key.serialize_pem());
    looks(1).await;
    assert!(scene.end() > second_end);
    assert!(scene.metric("sluice_tls_certificate_reloads_total{result=\"taken\"} 2"));
}

#[tokio::test(start_paused = true)]
async fn a_pair_that_is_over_or_gone_does_not_replace_one_that_works() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::root("Root");
    let good = root.leaf_until(&["a.example"], (2028, 1, 1));
    let scene = Scene::new(&pem(folder.path(), &good, &[]));
    let end = scene.end();
    replace(
        folder.path(),
        &root.leaf_until(&["a.example"], (2026, 1, 1)),
    );
    looks(3).await;
    assert_eq!(scene.logged.count("a certificate that is not over"), 1);
    std::fs::remove_file(folder.path().join("key.pem")).unwrap();
    looks(3).await;
    assert_eq!(scene.logged.count("a readable file"), 1);
    assert_eq!(scene.end(), end);
    // What was in use all the time is no change.
    replace(folder.path(), &good);
    looks(3).await;
    assert_eq!(scene.logged.count("is in use"), 0);
    assert!(scene.metric("sluice_tls_certificate_reloads_total{result=\"failed\"} 2"));
}

#[tokio::test(start_paused = true)]
async fn other_settings_are_obeyed_at_once_and_wrong_ones_keep_the_old_pair() {
    let [old, new] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (root, tasks) = (Authority::root("Root"), Tasks::new());
    let leaf = |year| root.leaf_until(&["a.example"], (year, 1, 1));
    let scene = Scene::new(&pem(old.path(), &leaf(2028), &[]));
    let first_end = scene.end();
    let other = pem(new.path(), &leaf(2029), &[]);
    scene.certificates.reload(&other, &tasks).await;
    let second_end = scene.end();
    assert!(second_end > first_end);
    // Files that nobody names any more are not looked at.
    replace(old.path(), &leaf(2031));
    looks(3).await;
    assert_eq!(scene.end(), second_end);
    let nowhere = Settings {
        key: Some("/nowhere".into()),
        ..other.clone()
    };
    scene.certificates.reload(&nowhere, &tasks).await;
    looks(3).await;
    assert_eq!(scene.end(), second_end);
    assert_eq!(scene.logged.count("are wrong"), 1);
    replace(new.path(), &leaf(2030));
    scene.certificates.reload(&other, &tasks).await;
    assert!(scene.end() > second_end);
    assert!(scene.metric("sluice_tls_certificate_reloads_total{result=\"taken\"} 2"));
    assert!(scene.metric("sluice_tls_certificate_reloads_total{result=\"failed\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn the_end_is_warned_of_at_start_and_once_a_day_from_thirty_days_before() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::root("Root");
    // The clock shows the tenth of November, noon.
    let scene = Scene::new(&pem(
        folder.path(),
        &root.leaf_until(&["a.example"], (2026, 12, 12)),
        &[],
    ));
    let day = Duration::from_secs(86_400);
    let warnings = |scene: &Scene| scene.logged.count("must be renewed");
    looks(1).await;
    assert_eq!(warnings(&scene), 0);
    tokio::time::sleep(day * 2).await;
    assert_eq!(warnings(&scene), 1);
    assert_eq!(scene.logged.count("days=30"), 1);
    tokio::time::sleep(day * 3).await;
    assert_eq!(warnings(&scene), 4);
    // A new one ends that.
    replace(
        folder.path(),
        &root.leaf_until(&["a.example"], (2028, 1, 1)),
    );
    tokio::time::sleep(day * 3).await;
    assert_eq!(warnings(&scene), 4);
    drop(scene);

    let folder = tempfile::tempdir().unwrap();
    let soon = root.leaf_until(&["a.example"], (2026, 11, 12));
    let scene = Scene::new(&pem(folder.path(), &soon, &[]));
    looks(0).await;
    assert_eq!((warnings(&scene), scene.logged.count("days=1")), (1, 1));
}
