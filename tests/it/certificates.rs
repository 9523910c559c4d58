//! A certificate that changes while the binary runs, with the configuration and without. Loopback only.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use crate::harness::secure::write_pair;
use crate::orders::{Configured, until};
use crate::process::{ask_secure, get};

/// Writes a pair into a folder of its own; gives it and what its clients trust.
fn pair(folder: &Path, name: &str) -> (PathBuf, CertificateDer<'static>) {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let root = write_pair(&folder, &["127.0.0.1"]);
    (folder, root)
}

/// A configuration that serves the pair in `folder`.
fn config(listen: &str, folder: &Path) -> String {
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    format!("{listen}\ntls_certificate = {chain:?}\ntls_key = {key:?}\n{FEED}")
}

const FEED: &str = "[[feed]]\nname = \"one\"\nupstream = \"http://127.0.0.1:9/v3/index.json\"\n";
const LISTEN: &str = "tls_listen = [\"127.0.0.1:0\"]";

/// Whether new connections are shaken with the certificate that `root` vouches for.
async fn serves(root: &CertificateDer<'static>, address: &str) -> bool {
    let answer = ask_secure(root, address, "/-/healthz").await;
    answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 OK"))
}

fn settings(changes: &Value) -> Vec<&str> {
    let changes = changes.as_array().unwrap().iter();
    changes
        .map(|change| change["setting"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_reload_takes_up_other_files_and_changed_ones_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (first, old) = pair(folder.path(), "first");
    let process = Configured::start(&config(LISTEN, &first));
    let address = process.running.address("https://");
    assert!(serves(&old, &address).await);

    let (second, new) = pair(folder.path(), "second");
    process.write(&config(LISTEN, &second));
    let (status, report) = process.reload();
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(
        settings(&report["changed"]),
        ["tls_certificate", "tls_key", "certificate"]
    );
    assert_eq!(report["needs_restart"], json!([]));
    assert!(serves(&new, &address).await && !serves(&old, &address).await);

    let (_, newer) = pair(folder.path(), "second");
    let (_, report) = process.reload();
    assert_eq!(settings(&report["changed"]), ["certificate"]);
    let to = report["changed"][0]["to"].as_str().unwrap();
    assert!(to.starts_with("the one that expires on "), "{to}");
    assert!(serves(&newer, &address).await);
    let (_, report) = process.reload();
    assert_eq!(report["changed"], json!([]));

    let (third, newest) = pair(folder.path(), "third");
    process.write(&config(LISTEN, &third));
    process.running.send(Signal::HUP);
    for _ in 0..1500 {
        if serves(&newest, &address).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the signal was not heeded");
}

#[tokio::test]
async fn a_reload_with_wrong_files_changes_nothing_and_tells_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (first, old) = pair(folder.path(), "first");
    let process = Configured::start(&config(LISTEN, &first));
    let address = process.running.address("https://");
    let (second, _) = pair(folder.path(), "second");
    std::fs::copy(first.join("key.pem"), second.join("key.pem")).unwrap();
    process.write(&format!("max_hold = \"9s\"\n{}", config(LISTEN, &second)));
    let (status, report) = process.reload();
    assert_eq!(status, "HTTP/1.1 422 Unprocessable Entity");
    let problem = report["problems"][0].as_str().unwrap();
    assert!(
        problem.ends_with("expected a certificate that the private key belongs to"),
        "{problem}"
    );
    assert_eq!(report["changed"], json!([]));
    assert!(serves(&old, &address).await);
}

#[tokio::test]
async fn where_tls_itself_waits_for_a_restart_its_certificate_does_too() {
    let folder = tempfile::tempdir().unwrap();
    let (first, old) = pair(folder.path(), "first");
    let (second, _) = pair(folder.path(), "second");
    let process = Configured::start(&config(LISTEN, &first));
    let address = process.running.address("https://");
    let elsewhere = config("tls_listen = [\"127.0.0.1:1\"]", &second);
    for other in [&elsewhere, FEED] {
        process.write(other);
        let (_, report) = process.reload();
        assert_eq!(report["problems"], json!([]));
        assert_eq!(report["changed"], json!([]), "{other}");
        let waiting = settings(&report["needs_restart"]);
        assert!(waiting.contains(&"tls_certificate"), "{waiting:?}");
        assert!(serves(&old, &address).await);
    }
}

#[tokio::test]
async fn the_check_of_itself_reaches_it_by_the_name_in_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, root) = pair(folder.path(), "first");
    let more = format!(
        "ca_files = [{:?}]\nmax_hold = \"1s\"",
        folder.join("chain.pem")
    );
    let process = Configured::start(&config(&format!("{LISTEN}\n{more}"), &folder));
    let (plain, secure) = (
        process.running.address("http://"),
        process.running.address("https://"),
    );
    assert!(get(&plain, "/-/healthz").starts_with("HTTP/1.1 200 OK"));
    let page = ask_secure(&root, &secure, "/").await.unwrap();
    assert!(
        page.contains(&format!("https://{secure}/v3/index.json")),
        "{page}"
    );
    let metrics = get(&process.admin, "/metrics");
    assert!(
        metrics.contains("sluice_tls_certificate_expiry_seconds "),
        "{metrics}"
    );
    // No upstream answers, so the check fails, but not before it has reached us over TLS.
    let checked = || get(&process.admin, "/readyz");
    until(|| checked().contains("the answer is 50"));
    let ready = checked();
    assert!(ready.starts_with("HTTP/1.1 200 OK"), "{ready}");
    let url = format!("\"url\":\"https://{secure}/v3/index.json\"");
    assert!(ready.contains(&url), "{ready}");
}
