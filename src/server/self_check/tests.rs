//! What a client of ours finds, over pipes to a scripted server; time is paused.

use std::pin::Pin;

use http_body_util::Full;
use hyper::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;

use super::*;
use crate::clock::Clock;
use crate::server::tls::tests::made::{Authority, pem};
use crate::upstream::connect::{ConnectError, Connection, Negotiated};

/// Answers on every connection the next of its answers, the last one again and again; `None` refuses the connection.
struct Scripted {
    answers: Vec<Option<(u16, &'static str)>>,
    asked: Arc<Mutex<Vec<String>>>,
    tasks: Tasks,
}

impl Connect for Scripted {
    fn connect(
        &self,
        target: Target,
    ) -> Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send + '_>> {
        let mut asked = self.asked.lock().unwrap();
        let answer = self.answers[asked.len().min(self.answers.len() - 1)];
        asked.push(target.origin.to_string());
        let seen = Arc::clone(&self.asked);
        let (near, far) = tokio::io::duplex(1 << 16);
        let service = service_fn(move |request: Request<Incoming>| {
            let host = request.headers()["host"].to_str().unwrap();
            let line = format!(" {} {host}", request.uri());
            seen.lock().unwrap().last_mut().unwrap().push_str(&line);
            let (status, body) = answer.unwrap_or_default();
            let mut response = Response::new(Full::new(Bytes::from(body)));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let serving = server::Builder::new().serve_connection(TokioIo::new(far), service);
        self.tasks.spawn("server", serving);
        let opened = match answer {
            None => Err(ConnectError::Failed("refused".to_owned())),
            Some(_) => Ok(Connection {
                stream: Box::new(near),
                negotiated: Negotiated::Http1,
            }),
        };
        Box::pin(std::future::ready(opened))
    }
}

const GOOD: &str = r#"{"version":"3.0.0","resources":[{"@id":"https://packages.example/x/v3/flatcontainer/","@type":"PackageBaseAddress/3.0.0"}]}"#;
const INNER: &str = r#"{"version":"3.0.0","resources":[{"@id":"http://inner:6850/v3/flatcontainer/","@type":"PackageBaseAddress/3.0.0"}]}"#;

/// Runs a check; gives its report, what was asked, and how long it took.
async fn run(
    answers: &[Option<(u16, &'static str)>],
    certificates: Option<Certificates>,
    roots: &[&Authority],
) -> (Value, Vec<String>, Duration) {
    let (tasks, asked) = (Tasks::new(), Arc::new(Mutex::new(Vec::new())));
    let connector = Scripted {
        answers: answers.to_vec(),
        asked: Arc::clone(&asked),
        tasks: tasks.clone(),
    };
    let subject = Subject {
        index_url: "https://packages.example/x/v3/index.json".to_owned(),
        certificates,
        roots: roots.iter().map(|root| root.der.clone()).collect(),
        user_agent: "sluice/test".to_owned(),
    };
    let check = SelfCheck::new(subject, Arc::new(connector), tasks);
    assert_eq!(check.report()["state"], "running");
    let clock = Clock::simulated(std::time::UNIX_EPOCH);
    let began = clock.instant();
    check.clone().run().await;
    let asked = asked.lock().unwrap().clone();
    (check.report(), asked, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_good_index_passes_and_is_asked_for_as_a_client_would() {
    let (report, asked, took) = run(&[Some((200, GOOD))], None, &[]).await;
    assert_eq!(
        report,
        json!({
            "state": "passed",
            "url": "https://packages.example/x/v3/index.json",
            "failure": null,
            "warnings": [],
        })
    );
    assert_eq!(
        asked,
        ["https://packages.example /x/v3/index.json packages.example"]
    );
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn wrong_links_are_told() {
    let (report, ..) = run(&[Some((200, INNER))], None, &[]).await;
    assert_eq!(report["state"], "warned");
    let warnings = report["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].as_str().unwrap().contains("are http"));
    assert!(
        warnings[1]
            .as_str()
            .unwrap()
            .contains("http://inner:6850/v3/flatcontainer/")
    );
}

#[tokio::test(start_paused = true)]
async fn an_index_that_asks_for_a_credential_is_left_alone() {
    let (report, asked, _) = run(&[None, Some((401, ""))], None, &[]).await;
    assert_eq!((report["state"].as_str(), asked.len()), (Some("closed"), 2));
    assert_eq!(report["failure"], Value::Null);
    assert_eq!(report["warnings"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_fetched_is_tried_again_and_given_up_in_the_end() {
    let flaky = [
        None,
        Some((503, "")),
        Some((200, "<html>")),
        Some((200, GOOD)),
    ];
    let (report, asked, took) = run(&flaky, None, &[]).await;
    assert_eq!((report["state"].as_str(), asked.len()), (Some("passed"), 4));
    assert_eq!(report["failure"], Value::Null);
    assert_eq!(took.as_secs(), 180);
    for (answer, expected) in [
        (None, "refused"),
        (Some((503, "")), "the answer is 503"),
        (Some((302, "")), "the answer is 302"),
        (Some((200, "<html>")), "it is no service index: no JSON"),
    ] {
        let (report, asked, _) = run(&[answer], None, &[]).await;
        assert_eq!(
            (report["state"].as_str(), asked.len()),
            (Some("failed"), 10)
        );
        let failure = report["failure"].as_str().unwrap();
        assert!(failure.starts_with(expected), "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_without_its_intermediate_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::root("Test Root");
    let middle = root.intermediate("Test Middle");
    let leaf = middle.leaf(&["packages.example"]);
    let clock = Clock::system();
    let open = |above: &[&Authority]| {
        let settings = pem(folder.path(), &leaf, above);
        Certificates::open(&settings, &clock).unwrap()
    };
    let good = [Some((200, GOOD))];
    let (report, ..) = run(&good, open(&[]), &[&root]).await;
    assert_eq!(report["state"], "warned");
    let warning = report["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("issuer \"CN=Test Middle\" is neither sent nor a root"),
        "{warning}"
    );
    let (report, ..) = run(&good, open(&[&middle]), &[&root]).await;
    assert_eq!(report["state"], "passed");
    // A root of the user's own that this machine does not know.
    let (report, ..) = run(&good, open(&[&middle]), &[]).await;
    assert!(report["warnings"][0].as_str().unwrap().contains("ca_files"));
}
