//! The commands as an operator gives them: on a running process, on a store that nobody serves, and in between. No upstream
//! answers: the store is filled by its own door.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use http::StatusCode;
use rustix::process::Signal;
use serde_json::Value;
use sluice::cache::epoch::Epoch;
use sluice::cache::key::{Key, Parts};
use sluice::clock::Clock;
use sluice::store::{Draft, Settings, Store};
use sluice::tasks::Tasks;
use tempfile::TempDir;

use crate::orders::until;
use crate::process::{Running, exchange, sluice, text};

/// A data folder with packages, and a configuration that names it.
struct Stocked {
    folder: TempDir,
}

const FEEDS: &str = "[[feed]]\nname = \"nuget\"\nupstream = \"http://127.0.0.1:9/a.json\"\n\
    [[feed]]\nname = \"corp\"\nupstream = \"http://127.0.0.1:9/b.json\"\n";

impl Stocked {
    async fn new() -> Self {
        let stocked = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(stocked.config(), format!("log = \"off\"\n{FEEDS}")).unwrap();
        let settings = Settings {
            data_dir: stocked.data(),
            ..Settings::default()
        };
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let store = Store::open(settings, clock.clone(), tasks).await.unwrap();
        for (feed, id) in [
            ("nuget", "contoso.log"),
            ("nuget", "contoso.core"),
            ("corp", "contoso.log"),
        ] {
            let key = Key::new(&Parts {
                feed,
                id: Some(id),
                class: "package",
                rest: "1.0.0",
                ..Parts::default()
            });
            let mut writer = store.begin(&key, Some(50_000)).await.unwrap();
            writer.write(vec![7; 50_000].into()).await.unwrap();
            let _ = writer.publish(Draft {
                epoch: Epoch::default(),
                status: StatusCode::OK,
                headers: Default::default(),
                upstream_validator: Default::default(),
                origin: "a.test".to_owned(),
                fetched_at: clock.now(),
                validated_at: clock.now(),
            });
        }
        store.close(Duration::from_secs(10)).await;
        stocked
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("a.toml")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn serve(&self) -> Running {
        let mut command = sluice();
        command.arg("--config").arg(self.config());
        Running::launch(command, &self.data())
    }

    /// Runs a command on this folder.
    fn run(&self, words: &[&str]) -> Output {
        let mut command = sluice();
        command.args(words).arg("--config").arg(self.config());
        command.arg("--data-dir").arg(self.data()).output().unwrap()
    }

    /// The same; what it prints, if it ends well.
    fn said(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        text(&output.stdout).to_owned()
    }

    /// The same; what it complains of, and its exit code.
    fn refused(&self, words: &[&str]) -> (i32, String) {
        let output = self.run(words);
        let code = output.status.code().unwrap();
        assert_eq!(text(&output.stdout), "", "{output:?}");
        (code, text(&output.stderr).to_owned())
    }

    fn bodies(&self) -> Vec<PathBuf> {
        let list = |path: &Path| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(path).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect()
        };
        let folders = list(&self.data().join("bodies")).into_iter();
        folders.flat_map(|folder| list(&folder)).collect()
    }

    /// Changes a byte of one body.
    fn rot(&self) {
        let path = self.bodies().remove(0);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[25_000] ^= 1;
        std::fs::File::create(path)
            .unwrap()
            .write_all(&bytes)
            .unwrap();
    }
}

#[tokio::test]
async fn offline_they_work_on_the_store_itself() {
    let stocked = Stocked::new().await;
    assert_eq!(stocked.said(&["verify"]), "3 bodies, 146.4 KiB: sound\n");
    let purged = stocked.said(&["purge", "Contoso.Log", "--feed", "corp"]);
    assert!(purged.starts_with("corp: 1 response, 5"), "{purged}");
    assert_eq!(stocked.bodies().len(), 2);
    let purged = stocked.said(&["purge", "--pattern", "Contoso.*", "--json"]);
    let done: Value = serde_json::from_str(&purged).unwrap();
    assert_eq!(done["done"]["feeds"][0]["responses"], 2, "{done}");
    assert_eq!(
        stocked.said(&["purge", "--feed", "nuget"]),
        "nothing of it was stored\n"
    );
    let (code, told) = stocked.refused(&["trim", "--keep-used-since", "start"]);
    assert_eq!(code, 2);
    assert!(
        told.contains("expected a duration such as \"30d\" where no process runs"),
        "{told}"
    );
}

#[tokio::test]
async fn offline_a_trim_goes_by_what_the_index_remembers() {
    let stocked = Stocked::new().await;
    let nothing = "nothing of it was stored\n";
    assert_eq!(stocked.said(&["trim", "--keep-used-since", "2h"]), nothing);
    let long_ago = Clock::system().now() - Duration::from_secs(10 * 86_400);
    for body in stocked.bodies() {
        let file = std::fs::File::options().write(true).open(body).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    assert_eq!(stocked.said(&["trim", "--keep-used-since", "30d"]), nothing);
    // All were written now, by the uses that the index knows: by none.
    let trimmed = stocked.said(&["trim", "--keep-used-since", "9d"]);
    assert!(trimmed.contains("nuget: 2 responses"), "{trimmed}");
    assert_eq!(stocked.bodies(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn offline_a_verification_mends_only_when_it_is_asked_to() {
    let stocked = Stocked::new().await;
    stocked.rot();
    for _ in 0..2 {
        let output = stocked.run(&["verify"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told = text(&output.stdout);
        assert!(told.starts_with("damaged (checksum): "), "{told}");
        assert!(told.contains(", package contoso."), "{told}");
        assert!(
            told.contains("2 bodies, 97.6 KiB: sound; 1 damaged, 0 set aside\n"),
            "{told}"
        );
    }
    let output = stocked.run(&["verify", "--repair"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = text(&output.stdout);
    assert!(
        told.contains("1 damaged, 1 set aside\nkept in quarantine:\n"),
        "{told}"
    );
    let sound = stocked.said(&["verify"]);
    assert!(
        sound.starts_with("2 bodies, 97.6 KiB: sound\nkept in quarantine:\n"),
        "{sound}"
    );
}

#[tokio::test]
async fn a_running_process_is_asked_through_its_admin_listener() {
    let stocked = Stocked::new().await;
    let running = stocked.serve();
    let admin = running.address("admin http://");
    let url = format!("http://{admin}");
    assert_eq!(
        stocked.said(&["verify", "--admin", &url]),
        "3 bodies, 146.4 KiB: sound\n"
    );
    let purged = stocked.said(&["purge", "contoso.log", "--admin", &url]);
    assert!(
        purged.starts_with("corp: 1 response, ") && purged.contains("\nnuget: 1 response, "),
        "{purged}"
    );
    assert_eq!(stocked.bodies().len(), 1);
    // Written by an earlier process, and nobody has asked this one for it.
    let trimmed = stocked.said(&["trim", "--keep-used-since", "start", "--admin", &url]);
    assert!(trimmed.starts_with("nuget: 1 response, "), "{trimmed}");
    let (code, told) = stocked.refused(&["purge", "--feed", "nugte", "--admin", &url]);
    let expected = "sluice: feed: expected one of nuget, corp, which \"nugte\" is not\n";
    assert_eq!((code, &*told), (2, expected));
    let answer = exchange(&admin, "GET /api/store/verify", "");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[tokio::test]
async fn whose_the_folder_is_its_lock_says() {
    let stocked = Stocked::new().await;
    let running = stocked.serve();
    let address = running.address("admin http://");
    // It listens elsewhere than the file says.
    let text = |listen: &str| format!("log = \"off\"\nadmin_listen = \"{listen}\"\n{FEEDS}");
    std::fs::write(stocked.config(), text("127.0.0.1:9")).unwrap();
    let (code, told) = stocked.refused(&["purge", "contoso.log"]);
    assert_eq!(code, 1);
    for part in [
        "is in use by process",
        "its admin listener http://127.0.0.1:9 does not",
        "--admin",
    ] {
        assert!(told.contains(part), "{told}");
    }
    std::fs::write(stocked.config(), text("off")).unwrap();
    let (code, told) = stocked.refused(&["purge", "contoso.log"]);
    assert!(
        code == 1 && told.contains("has no admin listener here"),
        "{told}"
    );
    assert_eq!(stocked.bodies().len(), 3);
    std::fs::write(stocked.config(), text(&address)).unwrap();
    let purged = stocked.said(&["purge", "contoso.log"]);
    assert!(purged.starts_with("corp: 1 response"), "{purged}");
    running.send(Signal::TERM);
    drop(running);
    let purged = stocked.said(&["purge", "contoso.core"]);
    assert!(purged.starts_with("nuget: 1 response"), "{purged}");
}

#[tokio::test]
async fn an_order_brings_the_token_that_may_administer() {
    let stocked = Stocked::new().await;
    let made = stocked.said(&["token", "create", "boss", "--admin"]);
    let running = stocked.serve();
    let url = format!("http://{}", running.address("admin http://"));
    let order = |token: Option<&str>| {
        let mut command = sluice();
        command.args(["purge", "contoso.log", "--admin", &url]);
        if let Some(token) = token {
            command.env("SLUICE_ADMIN_TOKEN", token);
        }
        command.output().unwrap()
    };
    let refused = order(None);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let told = text(&refused.stderr);
    assert!(
        told.contains("expected a token that may administer"),
        "{told}"
    );
    assert_eq!(stocked.bodies().len(), 3);
    let obeyed = order(Some(made.trim()));
    assert_eq!(obeyed.status.code(), Some(0), "{obeyed:?}");
    assert_eq!(stocked.bodies().len(), 1);
}

#[tokio::test]
async fn mistakes_are_told_before_anything_is_touched() {
    let stocked = Stocked::new().await;
    for (words, expected) in [
        (
            &["purge"][..],
            "expected an id, a pattern, a feed, or what is stale",
        ),
        (&["purge", "a b"], "id: expected a package id such as"),
        (&["purge", "a", "x"], "version: expected a version such as"),
        (
            &["purge", "--pattern", "*.a"],
            "pattern: expected a package id, \"Contoso.*\"",
        ),
        (
            &["purge", "--feed", "x"],
            "feed: expected one of nuget, corp, which \"x\" is not",
        ),
        (
            &["trim", "--keep-used-since", "soon"],
            "keep_used_since: expected \"start\" or a duration",
        ),
        (&["trim"], "--keep-used-since"),
    ] {
        let (code, told) = stocked.refused(words);
        assert_eq!(code, 2, "{words:?}: {told}");
        assert!(told.contains(expected), "{told}");
    }
    assert_eq!(stocked.bodies().len(), 3);
    let nowhere = stocked.folder.path().join("nowhere");
    for words in [&["verify"][..], &["pins"]] {
        let output = sluice()
            .args(words)
            .arg("--data-dir")
            .arg(&nowhere)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = text(&output.stderr);
        assert!(
            told.contains("is no data folder of Sluice; name it with --config or --data-dir"),
            "{told}"
        );
    }
    assert!(!nowhere.exists());
}

#[tokio::test]
async fn pins_are_made_listed_and_ended_beside_a_running_process() {
    let stocked = Stocked::new().await;
    let running = stocked.serve();
    let admin = running.address("admin http://");
    let pinned = |bodies: &str| {
        until(|| {
            let metrics = crate::process::get(&admin, "/metrics");
            metrics.contains(&format!("\nsluice_store_pinned_bodies {bodies}\n"))
        });
    };
    let pin = |words: &[&str]| {
        let output = stocked.run(words);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        running.send(Signal::HUP);
        text(&output.stderr).to_owned()
    };
    assert_eq!(
        pin(&["pin", "Contoso.Log", "1.0"]),
        "contoso.log 1.0.0 of every feed is pinned\n"
    );
    pinned("2");
    assert_eq!(
        pin(&["pin", "contoso.core", "--feed", "nuget"]),
        "contoso.core (every version) of nuget is pinned\n"
    );
    pinned("3");
    let again = pin(&["pin", "contoso.core", "--feed", "nuget"]);
    assert!(again.ends_with(" was pinned before\n"), "{again}");
    let listed = stocked.said(&["pins"]);
    assert_eq!(
        listed,
        "ID            VERSION  FEED\ncontoso.core  every    nuget\ncontoso.log   1.0.0    every\n"
    );
    let (code, told) = stocked.refused(&["unpin", "contoso.log"]);
    assert_eq!(code, 1);
    assert!(
        told.contains(
            "there is no pin of contoso.log (every version) of every feed; sluice pins lists them"
        ),
        "{told}"
    );
    pin(&["unpin", "contoso.log", "1.0.0"]);
    pinned("1");
    let (code, told) = stocked.refused(&["pin", "a", "--feed", "x"]);
    assert!(
        code == 1 && told.contains("feed: expected one of nuget, corp"),
        "{told}"
    );
}
