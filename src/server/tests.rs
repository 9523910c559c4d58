//! Tests of the whole server over loopback: run and drain, the admin listener, the health check, the access log's sink.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::healthcheck::{self, HealthError};
use super::reload::Report;
use super::*;
use crate::telemetry::{AccessLine, Format};

#[tokio::test]
async fn the_health_check_tells_a_live_process_from_anything_else() {
    async fn answering(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            stream.write_all(answer).await.unwrap();
        };
        Tasks::new().spawn("server", server);
        address
    }
    let check = |address: SocketAddr| async move {
        healthcheck::check(&healthcheck::url_of(address)).await
    };

    let live = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n").await;
    assert!(check(live).await.is_ok());
    let ill = answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
    let error = check(ill).await.unwrap_err();
    assert!(
        matches!(&error, HealthError::Status(line) if line.contains("503")),
        "{error}"
    );
    let silent = answering(b"").await;
    assert!(matches!(check(silent).await, Err(HealthError::Status(_))));
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    assert!(matches!(check(address).await, Err(HealthError::Io(_))));
}

#[tokio::test(start_paused = true)]
async fn the_health_check_ends_within_its_limit() {
    // Never accepted from: the connection is made by the system, and no answer comes.
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = healthcheck::url_of(hanging.local_addr().unwrap());
    let checked = healthcheck::check(&url).await;
    assert!(
        matches!(checked, Err(HealthError::TimedOut(_))),
        "{checked:?}"
    );
}

#[tokio::test]
async fn the_health_check_refuses_what_is_no_plain_address() {
    for url in ["", "localhost", "https://a:1", "http://u:p@a:1", "/healthz"] {
        let checked = healthcheck::check(url).await;
        assert!(matches!(checked, Err(HealthError::Url(_))), "{url}");
    }
}

#[test]
fn an_unspecified_address_is_asked_on_loopback() {
    for (address, expected) in [
        ("0.0.0.0:1", "http://127.0.0.1:1"),
        ("[::]:1", "http://[::1]:1"),
        ("10.0.0.1:1", "http://10.0.0.1:1"),
    ] {
        assert_eq!(healthcheck::url_of(address.parse().unwrap()), expected);
    }
}

/// A sink whose first write fails.
struct Sink {
    text: Arc<Mutex<String>>,
    failures: usize,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let text = std::str::from_utf8(bytes).unwrap();
        self.text.lock().unwrap().push_str(text);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_fails_loses_lines_and_is_used_again() {
    let line = |path| AccessLine {
        time: UNIX_EPOCH,
        client: [127, 0, 0, 1].into(),
        user: None,
        method: "GET",
        path,
        status: 200,
        bytes: 0,
        duration: Duration::ZERO,
        feed: None,
        id: None,
        version: None,
        outcome: "hit",
        reason: None,
        hash: None,
        credential: None,
        session: None,
        user_agent: None,
    };
    let (telemetry, writer) = Telemetry::with_access_log(Format::Human);
    let (tasks, text) = (Tasks::new(), Arc::new(Mutex::new(String::new())));
    let sink = Sink {
        text: Arc::clone(&text),
        failures: 1,
    };
    telemetry.log_access(&line("/lost"));
    let writing = tasks.spawn(
        "access log",
        write_access_log(writer, Box::new(sink), tasks.clone()),
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    telemetry.log_access(&line("/kept"));
    telemetry.close_access_log();
    writing.await.unwrap();
    let text = text.lock().unwrap();
    assert!(text.contains("/kept") && !text.contains("/lost"), "{text}");
    assert!(
        telemetry
            .render()
            .contains("sluice_access_log_lines_dropped_total 1\n")
    );
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Phase {
    Draining,
    Serving,
}

/// A guard of a folder's tokens.
async fn guard(folder: &std::path::Path) -> Guard {
    let settings = crate::access::Settings {
        data_dir: folder.to_owned(),
        ..crate::access::Settings::default()
    };
    let (clock, tasks) = (crate::clock::Clock::system(), Tasks::new());
    Guard::open(settings, clock, tasks, Telemetry::new())
        .await
        .unwrap()
}

pub(super) async fn gate(folder: &std::path::Path, seen_from: SeenFrom) -> admin::Gate {
    admin::Gate {
        guard: guard(folder).await,
        seen_from,
    }
}

/// What the admin listener answers.
async fn asked(method: Method, path: &str, phase: Phase) -> (StatusCode, String, String) {
    let nowhere = std::path::Path::new("/nowhere");
    let gate = gate(nowhere, SeenFrom::Loopback).await;
    asked_at(gate, None, method, path, phase).await
}

async fn asked_at(
    gate: admin::Gate,
    authorization: Option<&str>,
    method: Method,
    path: &str,
    phase: Phase,
) -> (StatusCode, String, String) {
    let telemetry = Telemetry::new();
    let draining = Arc::new(AtomicBool::new(phase == Phase::Draining));
    let readiness = || serde_json::json!({"status": "never this", "feeds": 1});
    let (reloader, _) = reload::orders();
    let state = admin::State::new(gate, readiness, telemetry, draining, reloader);
    let mut request = Request::builder().method(method).uri(path);
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let (request, ()) = request.body(()).unwrap().into_parts();
    let client = [127, 0, 0, 1].into();
    let (parts, body) = admin::answer(&request, client, &state).await.into_parts();
    let is_challenged = parts.headers.contains_key("www-authenticate");
    assert_eq!(is_challenged, parts.status == StatusCode::UNAUTHORIZED);
    let kind = parts.headers["content-type"].to_str().unwrap().to_owned();
    let body = body.collect().await.unwrap().to_bytes();
    (
        parts.status,
        kind,
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

#[tokio::test]
async fn the_admin_listener_answers_health_readiness_and_metrics_and_nothing_else() {
    let get = |path: &'static str| asked(Method::GET, path, Phase::Serving);
    let (status, _, body) = get("/healthz").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "ok\n"));
    let (status, kind, body) = get("/metrics").await;
    assert_eq!(
        (status, kind.as_str()),
        (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(body.contains("# TYPE sluice_request_duration_seconds histogram"));
    let (status, kind, body) = get("/readyz").await;
    assert_eq!(
        (status, kind.as_str()),
        (StatusCode::OK, "application/json")
    );
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, serde_json::json!({"status": "ready", "feeds": 1}));
    for path in ["/", "/healthz/", "/v3/index.json", "//healthz"] {
        assert_eq!(get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let (status, ..) = asked(Method::POST, "/healthz", Phase::Serving).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}

/// What the admin listener answers to an order to reload of which `report` comes.
async fn ordered(
    method: Method,
    origin: Option<&str>,
    report: Option<Report>,
) -> (StatusCode, String) {
    let (reloader, mut orders) = reload::orders();
    let tasks = Tasks::new();
    match report {
        Some(report) => {
            tasks.spawn("reload", async move {
                if let Some(waiting) = orders.next().await {
                    waiting.answer(&report);
                }
            });
        }
        None => drop(orders),
    }
    let readiness = || serde_json::json!({});
    let gate = gate(std::path::Path::new("/nowhere"), SeenFrom::Loopback).await;
    let state = admin::State::new(gate, readiness, Telemetry::new(), Arc::default(), reloader);
    let mut request = Request::builder()
        .method(method)
        .uri("/api/reload")
        .header("host", "127.0.0.1:6851");
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    let (request, ()) = request.body(()).unwrap().into_parts();
    let answer = admin::answer(&request, [127, 0, 0, 1].into(), &state).await;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn an_order_to_reload_says_what_came_of_it() {
    let changed = Report {
        changed: vec![serde_json::json!({"setting": "max_hold"})],
        ..Report::default()
    };
    let (status, body) = ordered(Method::POST, None, Some(changed)).await;
    assert_eq!(status, StatusCode::OK);
    let expected = r#"{"changed":[{"setting":"max_hold"}],"needs_restart":[],"problems":[]}"#;
    assert_eq!(body.trim_end(), expected);
    let refused = Report {
        problems: vec!["a.toml:1: no".to_owned()],
        ..Report::default()
    };
    let (status, body) = ordered(Method::POST, None, Some(refused)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let expected = r#"{"changed":[],"needs_restart":[],"problems":["a.toml:1: no"]}"#;
    assert_eq!(body.trim_end(), expected);
    let (status, _) = ordered(Method::POST, None, None).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn only_a_post_reloads_and_none_of_another_sites_page() {
    let order = |method, origin| ordered(method, origin, Some(Report::default()));
    for method in [Method::GET, Method::HEAD, Method::PUT] {
        let (status, _) = order(method, None).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    }
    for (origin, expected) in [
        ("http://127.0.0.1:6851", StatusCode::OK),
        ("http://evil.test", StatusCode::FORBIDDEN),
        ("http://127.0.0.1:6850", StatusCode::FORBIDDEN),
        ("https://127.0.0.1:6851", StatusCode::FORBIDDEN),
        ("null", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(
            order(Method::POST, Some(origin)).await.0,
            expected,
            "{origin}"
        );
    }
}

#[tokio::test]
async fn readiness_fails_while_draining_and_health_does_not() {
    let (status, _, body) = asked(Method::GET, "/readyz", Phase::Draining).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("\"draining\""), "{body}");
    let (status, ..) = asked(Method::GET, "/healthz", Phase::Draining).await;
    assert_eq!(status, StatusCode::OK);
}

/// Makes a token in a folder; gives the header that carries it.
fn made(folder: &std::path::Path, words: &[&str]) -> String {
    let settings = crate::access::Settings {
        data_dir: folder.to_owned(),
        ..crate::access::Settings::default()
    };
    let words = [&["token", "create"], words].concat();
    let matches = crate::access::command::token().get_matches_from(words);
    let scene = crate::access::command::Scene {
        settings: &settings,
        feeds: &[],
        now: UNIX_EPOCH,
    };
    let said = crate::access::command::run(&matches, &scene).unwrap();
    format!("Bearer {}", said.out.trim())
}

#[tokio::test]
async fn the_interface_asks_for_the_admin_right_where_somebody_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let reader = made(folder.path(), &["reader"]);
    let ask = async |seen_from, authorization: Option<&str>, path: &str| {
        let gate = gate(folder.path(), seen_from).await;
        let (status, ..) = asked_at(gate, authorization, Method::GET, path, Phase::Serving).await;
        status
    };
    let local = SeenFrom::Loopback;
    assert_eq!(ask(local, None, "/api/x").await, StatusCode::NOT_FOUND);
    let boss = made(folder.path(), &["boss", "--admin"]);
    assert_eq!(ask(local, None, "/api/x").await, StatusCode::UNAUTHORIZED);
    let status = ask(local, Some("Bearer slc_wrong"), "/api/x").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let status = ask(local, Some(&reader), "/api/x").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let status = ask(local, Some(&boss), "/api/x").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(ask(local, None, path).await, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn the_interface_does_not_open_when_the_last_token_that_may_administer_ends() {
    let folder = tempfile::tempdir().unwrap();
    // Made at the beginning of time, it has ended.
    let boss = made(folder.path(), &["boss", "--admin", "--expires", "1s"]);
    for authorization in [None, Some(&*boss)] {
        let gate = gate(folder.path(), SeenFrom::Loopback).await;
        let asked = asked_at(gate, authorization, Method::GET, "/api/x", Phase::Serving);
        assert_eq!(asked.await.0, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn the_interface_asks_for_the_admin_right_where_others_reach_it() {
    let folder = tempfile::tempdir().unwrap();
    for (path, expected) in [
        ("/api/x", StatusCode::UNAUTHORIZED),
        ("/healthz", StatusCode::OK),
    ] {
        let gate = gate(folder.path(), SeenFrom::Elsewhere).await;
        let (status, ..) = asked_at(gate, None, Method::GET, path, Phase::Serving).await;
        assert_eq!(status, expected, "{path}");
    }
}

#[tokio::test]
async fn a_first_signal_drains_and_a_second_ends_at_once() {
    let (clients, admin) = (
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    let (address, admin_url) = (
        clients.local_addr().unwrap(),
        healthcheck::url_of(admin.local_addr().unwrap()),
    );
    let listeners = Listeners {
        clients: vec![clients],
        secure: Vec::new(),
        certificates: None,
        admin: Some(admin),
    };
    let tasks = Tasks::new();
    let (signal, signals) = mpsc::channel(2);
    let (began, mut beginning) = mpsc::channel(1);
    let serving = Serving {
        settings: Settings::default(),
        handle: move |_, _| {
            let began = began.clone();
            async move {
                let _ = began.send(()).await;
                std::future::pending::<Response<Empty<Bytes>>>().await
            }
        },
        readiness: || serde_json::json!({}),
        guard: guard(std::path::Path::new("/nowhere")).await,
        checking: None,
        order_mode: OrderMode::new(|_, _| None),
        marked: marked::List::new(|_| serde_json::json!({})),
        take_order: TakeOrder::new(|_, _| Err(crate::proxy::OrderError::Busy)),
    };
    let control = Control {
        reloader: reload::orders().0,
        signals,
    };
    let running = tasks.spawn(
        "server",
        serve(serving, listeners, control, Telemetry::new(), tasks.clone()),
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    beginning.recv().await.unwrap();
    signal.send(()).await.unwrap();
    // Refused connections show that draining has begun; the admin listener still answers.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(healthcheck::check(&admin_url).await.is_ok());
    assert!(!running.is_finished());
    signal.send(()).await.unwrap();
    assert_eq!(running.await.unwrap(), Ended::Interrupted);
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
}
