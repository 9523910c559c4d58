//! Where a client's credential goes, and where it never does.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::{ANN, BOB, CONTENT, CONTENT_ASKED, CONTENT_PLACE, Corp, LIST, ask, file, get, whole};
use crate::harness::fixture::{document, service_index, version_list};
use crate::harness::{Ask, Reply, pass, seconds};

#[tokio::test(start_paused = true)]
async fn a_credential_crosses_no_redirect_and_goes_to_the_feeds_origins() {
    let corp = Corp::new();
    let index = service_index(&[
        ("PackageBaseAddress/3.0.0", "https://corp.test/flat/"),
        ("SearchQueryService", "https://search.test/query"),
        ("PackagePublish/2.0.0", "https://cdn.test/push"),
    ]);
    corp.on("corp.test/index.json", "", document(&index));
    let results = Reply::json(r#"{"totalHits":0,"data":[]}"#);
    corp.on("search.test/query", "", results);
    let far = Reply::redirect(302, "https://signed.test/x?sig=1");
    corp.on(CONTENT_PLACE, "sample.one", far);
    let signed = file(&whole());
    corp.origin.on("signed.test/x", signed);
    // An origin of the feed learns it when it is asked, and not when another sends us there.
    let near = Reply::redirect(302, "https://cdn.test/list");
    corp.on("corp.test/flat/sample.one/index.json", "sample.one", near);
    let list = document(&version_list(&["1.0.0"]));
    corp.origin.on("cdn.test/list", list);
    let proxy = corp.known_to(&[ANN, BOB]).await;
    for path in [CONTENT, LIST, "/v3/search?q=a"] {
        get(&proxy, ANN, path).await.expect("miss");
    }
    // An answer behind a redirect proves: the credential was let in where it was asked.
    get(&proxy, BOB, CONTENT).await.expect("revalidated");
    for seen in proxy.origin.all() {
        let knows = ["corp.test", "search.test"].contains(&&*seen.host);
        let sent = seen.header("authorization");
        assert_eq!(sent.is_some(), knows, "{}", seen.name());
    }
    // A target that refuses speaks of its own signature, and not of the client.
    let expired = Reply::new(403, "expired").header("WWW-Authenticate", "Basic realm=\"x\"");
    proxy.origin.on("signed.test/x", expired);
    pass(seconds(301)).await;
    let refused = get(&proxy, ANN, CONTENT).await;
    assert_eq!(refused.status, 502, "{:?}", refused.reason);
    assert_eq!(refused.header("www-authenticate"), None);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_pass_a_proxy_is_neither_taken_nor_offered() {
    let corp = Corp::new();
    let proxy = corp.proxy().await;
    for credential in [
        "NTLM TlRMTVNTUAABAAAA",
        "negotiate YIIabcdef",
        "Digest username=\"ann\"",
    ] {
        let refused = get(&proxy, credential, "/v3/index.json").await;
        assert_eq!(refused.status, 400);
        let secret = credential.split(' ').nth(1).expect("a secret");
        let said = format!("{:?} {}", refused.reason, refused.text());
        assert!(said.contains("scheme") && !said.contains(secret), "{said}");
    }
    let twice = ask(ANN, LIST).header("authorization", BOB);
    assert_eq!(proxy.send(twice).await.status, 400);
    assert_eq!(proxy.origin.total(), 0);
    let only = Reply::new(401, "")
        .header("WWW-Authenticate", "Negotiate")
        .header("WWW-Authenticate", "NTLM");
    proxy.origin.on("corp.test/index.json", only);
    let refused = get(&proxy, "", "/v3/index.json").await;
    assert_eq!(
        (refused.status, refused.header("www-authenticate")),
        (401, None)
    );
    let reason = refused.reason.as_deref().expect("a reason");
    let expected =
        "corp.test answered 401 and offers only Negotiate, NTLM, which cannot pass a proxy";
    assert!(reason.ends_with(expected), "{reason}");
    assert!(refused.text().contains("Basic"));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_ours_goes_nowhere() {
    let proxy = Corp::new().proxy().await;
    let token = format!("slc_{}", "A".repeat(43));
    for credential in [format!("Bearer {token}"), basic(&format!("ci:{token}"))] {
        let refused = get(&proxy, &credential, LIST).await;
        assert_eq!(refused.status, 400);
        let said = format!("{:?} {}", refused.reason, refused.text());
        assert!(said.contains("token") && !said.contains(&token), "{said}");
    }
    assert_eq!(proxy.origin.total(), 0);
}

fn basic(pair: &str) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    format!("Basic {encoded}")
}

#[tokio::test(start_paused = true)]
async fn an_open_feed_passes_no_credential_on() {
    let proxy = crate::harness::TestProxy::new().await;
    let ask = Ask::get(crate::harness::fixture::LIST).header("authorization", ANN);
    proxy.send(ask).await.expect("miss");
    let sent = |seen: &crate::harness::origin::Seen| seen.header("authorization").is_some();
    assert!(!proxy.origin.all().iter().any(sent));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_without_a_client() {
    let proxy = Corp::new().proxy().await;
    proxy.proxy.keep_vulnerabilities();
    pass(seconds(3 * 3600)).await;
    assert_eq!(proxy.origin.total(), 0);
}

/// Takes what the log says.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("a log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn no_log_and_no_file_holds_a_credential() {
    let sink = Sink::default();
    let written = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || written.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let corp = Corp::new();
    let proxy = corp.known_to(&[ANN, BOB]).await;
    for credential in [ANN, BOB, "Basic d3JvbmctbmFtZTp3cm9uZw==", ""] {
        for path in [LIST, CONTENT, "/v3/search?q=a"] {
            get(&proxy, credential, path).await;
        }
    }
    corp.rights.revoke(ANN);
    pass(seconds(301)).await;
    get(&proxy, ANN, CONTENT)
        .await
        .expect_status(401, "challenged");
    proxy.origin.all_down();
    get(&proxy, BOB, CONTENT).await;
    get(&proxy, "", LIST).await;
    assert!(proxy.origin.count(CONTENT_ASKED) > 0);
    let proxy = proxy.restart().await;
    let logged = String::from_utf8_lossy(&sink.0.lock().expect("a log")).into_owned();
    assert!(logged.contains("corp"), "the log was not taken");
    let mut held = Vec::new();
    read_all(&proxy.data_dir(), &mut held);
    assert!(held.len() > 40_000, "the files were not read");
    for secret in [
        "YW5uOnNlY3JldC1hbm4",
        "Ym9iOnNlY3JldC1ib2I",
        "d3JvbmctbmFtZTp3cm9uZw",
        "secret-ann",
    ] {
        assert!(!logged.contains(secret), "{secret} in the log");
        let is_held = held
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!is_held, "{secret} in a file");
    }
}

fn read_all(folder: &Path, held: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_all(&path, held);
        } else {
            held.extend(std::fs::read(&path).expect("a file"));
        }
    }
}
