//! Uploads: what goes out, what comes back, and whatever cuts them short. Protocol facts 3.5.8, 4.2.6 and 9.20.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::*;

/// What a client does after its last whole piece.
#[derive(Clone, Copy)]
pub(super) enum Ending {
    Break,
    End,
    Stall,
}

/// A client's upload: pieces of 16 KiB, then [`END`].
pub(super) struct Client {
    ending: Ending,
    left: usize,
    stalled: Option<Pin<Box<Sleep>>>,
    /// Rises to the whole length as it is read.
    pub(super) read: Arc<AtomicUsize>,
}

const PIECE: &[u8] = &[b'x'; 16 << 10];

impl Client {
    pub(super) fn new(pieces: usize, ending: Ending) -> Self {
        Self {
            ending,
            left: pieces + 1,
            stalled: None,
            read: Arc::default(),
        }
    }
}

impl Body for Client {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let data: &'static [u8] = match (self.left, self.ending) {
            (0, _) => return Poll::Ready(None),
            (1, Ending::Break) => return Poll::Ready(Some(Err("connection reset"))),
            (1, Ending::Stall) => {
                let forever = || Box::pin(tokio::time::sleep(Duration::from_secs(1 << 20)));
                let stalled = self.stalled.get_or_insert_with(forever);
                std::task::ready!(stalled.as_mut().poll(context));
                return Poll::Ready(None);
            }
            (1, Ending::End) => END.as_bytes(),
            _ => PIECE,
        };
        self.left -= 1;
        self.read.fetch_add(data.len(), Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

/// The length of a whole upload.
pub(super) fn length(pieces: usize) -> usize {
    pieces * PIECE.len() + END.len()
}

pub(super) fn push(access: &Access, url: &str, body: Client) -> PublishRequest<Client> {
    let headers = [
        ("x-nuget-apikey", "k"),
        ("user-agent", "NuGet Client"),
        ("host", "proxy.test"),
        ("content-length", "1"),
        ("expect", "100-continue"),
    ];
    let headers =
        headers.map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
    PublishRequest {
        access: access.clone(),
        body,
        headers: HeaderMap::from_iter(headers),
        length: None,
        method: Method::PUT,
        url: url.into(),
        via: vec!["1.1 edge".into()],
    }
}

/// Pushes some pieces to the home site; gives the outcome and how much of the client was read.
async fn run(
    bench: &Bench,
    pieces: usize,
    ending: Ending,
) -> (Result<PublishReply, PublishError>, usize) {
    let client = Client::new(pieces, ending);
    let read = Arc::clone(&client.read);
    let request = push(&bench.access, &format!("{HOME}/api/v2/package/?x"), client);
    let outcome = bench.upstream.publish(request).await;
    (outcome, read.load(Ordering::SeqCst))
}

#[tokio::test(start_paused = true)]
async fn an_upload_goes_out_whole_with_the_clients_headers() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Read(answer(
        "201 Thank you",
        "X-NuGet-Warning: w\r\n",
        "made",
    ))]);
    let (outcome, read) = run(&bench, 20, Ending::End).await;
    let reply = outcome.unwrap();
    assert_eq!((reply.status.as_u16(), read), (201, length(20)));
    assert_eq!(reply.reason.as_deref(), Some(b"Thank you".as_slice()));
    assert_eq!(reply.headers["x-nuget-warning"], "w");
    assert_eq!(text(reply.body).await.unwrap(), "made");

    let requests = site.requests();
    let mut lines: Vec<&str> = requests[0].trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "PUT /api/v2/package/?x HTTP/1.1");
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "authorization: Bearer t0ken",
            "host: home.test",
            "transfer-encoding: chunked",
            "user-agent: NuGet Client",
            "via: 1.1 edge, 1.1 sluice-0badcafe",
            "x-nuget-apikey: k",
        ]
    );
    assert_eq!(*bench.pipes.protocols.lock().unwrap(), [Protocols::Http1]);
}

#[tokio::test(start_paused = true)]
async fn a_known_length_is_kept() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Read(ok(""))]);
    let mut request = push(&bench.access, HOME, Client::new(1, Ending::End));
    request.length = Some(length(1) as u64);
    let reply = bench.upstream.publish(request).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.reason), (200, None));
    let head = &site.requests()[0];
    assert!(
        head.contains(&format!("content-length: {}\r\n", length(1))),
        "{head}"
    );
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert_eq!(site.bodies.lock().unwrap()[0].len(), length(1));
}

#[tokio::test(start_paused = true)]
async fn a_delete_has_no_body() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Keep("HTTP/1.1 204 No Content\r\n\r\n".into())]);
    let template = push(&bench.access, HOME, Client::new(0, Ending::End));
    let request = PublishRequest {
        access: template.access,
        body: http_body_util::Empty::<Bytes>::new(),
        headers: template.headers,
        length: None,
        method: Method::DELETE,
        url: format!("{HOME}/a/1.0.0"),
        via: Vec::new(),
    };
    let reply = bench.upstream.publish(request).await.unwrap();
    assert_eq!(reply.status, 204);
    let head = &site.requests()[0];
    assert!(head.starts_with("DELETE /a/1.0.0 "), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
}

#[tokio::test(start_paused = true)]
async fn each_upload_has_a_connection_of_its_own() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Keep(ok("x"))]);
    bench.get(HOME).await;
    for _ in 0..2 {
        run(&bench, 0, Ending::End).await.0.unwrap();
    }
    assert_eq!(site.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_survives_its_senders_close() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Close(answer(
        "413 Too large: 250 MB at most",
        "",
        "too large",
    ))]);
    for at in 0..100 {
        // Cut off at another place each time.
        let (outcome, read) = run(&bench, 10 + at, Ending::End).await;
        let reply = outcome.unwrap();
        assert_eq!((reply.status.as_u16(), read), (413, length(10 + at)));
        assert_eq!(
            reply.reason.as_deref(),
            Some(b"Too large: 250 MB at most".as_slice())
        );
        assert_eq!(text(reply.body).await.unwrap(), "too large");
    }
    assert_eq!(site.asked(), 100);
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_waits_for_the_client() {
    for early in [
        Reply::Keep(answer("401 Key?", "", "no")),
        // The answer's body comes while the client still sends.
        Reply::Slowly(vec![
            (
                Duration::ZERO,
                "HTTP/1.1 401 Key?\r\nContent-Length: 2\r\n\r\nn".into(),
            ),
            (Duration::from_secs(1), "o".into()),
        ]),
    ] {
        let bench = Bench::new();
        bench.site(HOME).set([early]);
        let (outcome, read) = run(&bench, 1_000, Ending::End).await;
        let reply = outcome.unwrap();
        assert_eq!((reply.status.as_u16(), read), (401, length(1_000)));
        assert_eq!(text(reply.body).await.unwrap(), "no");
    }
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_without_its_body_is_still_one() {
    let bench = Bench::new();
    let broken = "HTTP/1.1 413 Big\r\nContent-Length: 9\r\nContent-Type: text/plain\r\nX-Kept: y\r\n\r\nfour";
    bench.site(HOME).set([Reply::Close(broken.into())]);
    let reply = run(&bench, 100, Ending::End).await.0.unwrap();
    assert_eq!(reply.status, 413);
    assert_eq!(reply.headers.len(), 1);
    assert_eq!(text(reply.body).await.unwrap(), "");
}

#[track_caller]
fn assert_fault(outcome: Result<PublishReply, PublishError>, word: &str, sent: Sent) {
    let error = outcome.unwrap_err();
    assert_eq!((error.fault.word(), error.sent), (word, sent), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_breaks_off_breaks_the_upload() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Read(ok("accepted"))]);
    let (outcome, _) = run(&bench, 3, Ending::Break).await;
    assert_fault(outcome, "client-gone", Sent::Some);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let bodies = site.bodies.lock().unwrap();
    assert!(!bodies[0].ends_with(END), "the upstream saw an end");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stalls_is_cut_off() {
    let bench = Bench::new();
    bench.site(HOME).set([Reply::Read(ok(""))]);
    let before = Instant::now();
    let (outcome, _) = run(&bench, 3, Ending::Stall).await;
    assert_fault(outcome, "client-stalled", Sent::Some);
    assert_eq!(before.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stalls_after_an_early_answer_still_gets_it() {
    let bench = Bench::new();
    bench
        .site(HOME)
        .set([Reply::Close(answer("403 No", "", "no"))]);
    let before = Instant::now();
    let reply = run(&bench, 30, Ending::Stall).await.0.unwrap();
    assert_eq!(
        (reply.status.as_u16(), before.elapsed().as_secs()),
        (403, 30)
    );
}

#[tokio::test(start_paused = true)]
async fn an_upload_beyond_the_limit_is_cut_off() {
    let settings = Settings {
        max_push_bytes: length(9) as u64,
        ..Settings::default()
    };
    let bench = Bench::with(HOME, settings);
    let site = bench.site(HOME);
    site.set([Reply::Read(ok(""))]);
    run(&bench, 9, Ending::End).await.0.unwrap();
    let (outcome, read) = run(&bench, 100, Ending::End).await;
    assert_fault(outcome, "too-large", Sent::Some);
    assert!(read < length(11), "{read}");

    let mut request = push(&bench.access, HOME, Client::new(10, Ending::End));
    request.length = Some(length(10) as u64);
    assert_fault(
        bench.upstream.publish(request).await,
        "too-large",
        Sent::None,
    );
    assert_eq!(site.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_stops_reading_is_given_up() {
    let bench = Bench::new();
    bench.site(HOME).set([Reply::Hang]);
    let before = Instant::now();
    let (outcome, read) = run(&bench, 100, Ending::End).await;
    assert_fault(outcome, "timed-out", Sent::Some);
    assert_eq!((before.elapsed().as_secs(), read), (30, length(100)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_take_as_long_as_the_client_waits() {
    let bench = Bench::new();
    bench.site(HOME).set([Reply::Hang]);
    let before = Instant::now();
    let (outcome, _) = run(&bench, 1, Ending::End).await;
    assert_fault(outcome, "timed-out", Sent::Some);
    assert_eq!(before.elapsed().as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_twice() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Read(String::new()), Reply::Read(ok(""))]);
    let (outcome, _) = run(&bench, 3, Ending::End).await;
    assert_fault(outcome, "closed", Sent::Some);
    assert_eq!(site.asked(), 1);

    site.set([Reply::Read(answer("503 Busy", "", ""))]);
    assert_eq!(run(&bench, 3, Ending::End).await.0.unwrap().status, 503);
    assert_eq!(site.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_upstream_is_said_after_the_upload() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set_door(Door::Refuse);
    let (outcome, read) = run(&bench, 50, Ending::End).await;
    assert_fault(outcome, "connect-failed", Sent::None);
    assert_eq!(read, length(50));
    assert_eq!(site.connections.load(Ordering::SeqCst), 1);

    site.set_door(Door::Private);
    let client = Client::new(0, Ending::End);
    bench.site("http://inner.test").set_door(Door::Private);
    site.set_door(Door::Open);
    let request = push(&bench.access, "http://inner.test/", client);
    assert_fault(
        bench.upstream.publish(request).await,
        "private-address",
        Sent::None,
    );
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_named_and_not_followed() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Read(answer(
        "307 There",
        "Location: /other?sig=1\r\n",
        "",
    ))]);
    let error = run(&bench, 3, Ending::End).await.0.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the upstream redirects (307) to http://home.test/other"
    );
    assert_eq!((error.sent, site.asked()), (Sent::Some, 1));
}

#[tokio::test(start_paused = true)]
async fn an_upload_may_be_a_task_of_its_own() {
    let bench = Bench::new();
    bench.site(HOME).set([Reply::Read(ok("x"))]);
    let upstream = bench.upstream.clone();
    let request = push(&bench.access, HOME, Client::new(3, Ending::End));
    let task = bench
        .tasks
        .spawn("push", async move { upstream.publish(request).await });
    assert_eq!(task.await.unwrap().unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_publish_breaks_it_off() {
    let bench = Bench::new();
    let site = bench.site(HOME);
    site.set([Reply::Read(ok(""))]);
    let publish = run(&bench, 3, Ending::Stall);
    tokio::time::timeout(Duration::from_secs(5), publish)
        .await
        .unwrap_err();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(
        site.bodies.lock().unwrap().len(),
        1,
        "the upstream saw it end"
    );
    assert!(!site.bodies.lock().unwrap()[0].ends_with(END));
}
