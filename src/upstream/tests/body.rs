//! Bodies that stall, trickle or break.

use http_body::Body as _;
use tokio::time::Instant;

use super::*;

fn long(length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Reads a body that comes in these pieces; gives how it ended and after how long.
async fn read(
    length: usize,
    pieces: Vec<(Duration, String)>,
) -> (Result<usize, UpstreamError>, u64) {
    let bench = Bench::new();
    let mut all = vec![(Duration::ZERO, long(length))];
    all.extend(pieces);
    bench.site(HOME).set([Reply::Slowly(all)]);
    let fetched = bench.fetch(HOME).await.unwrap();
    assert_eq!(fetched.body.size_hint().exact(), Some(length as u64));
    let before = Instant::now();
    let read = text(fetched.body).await.map(|text| text.len());
    (read, before.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_stalled_body_ends_after_the_idle_limit() {
    let (read, after) = read(100_000, vec![(seconds(20), "x".repeat(60_000))]).await;
    let Err(UpstreamError::TimedOut { phase, .. }) = read else {
        panic!("{read:?}");
    };
    assert_eq!((phase, after), (Phase::Body, 50));
}

#[tokio::test(start_paused = true)]
async fn a_trickle_ends_after_the_rate_window() {
    let piece = (seconds(1), "x".repeat(1_000));
    let (read, after) = read(1_000_000, vec![piece; 100]).await;
    assert_eq!(read.unwrap_err().word(), "rate-too-low");
    assert_eq!(after, 30);
    // Silent when the window ends.
    let (read, after) = self::read(1_000_000, vec![(seconds(20), "x".repeat(1_000))]).await;
    assert_eq!(read.unwrap_err().word(), "rate-too-low");
    assert_eq!(after, 30);
}

#[tokio::test(start_paused = true)]
async fn what_came_fast_does_not_pay_for_a_trickle_after_it() {
    let mut pieces = vec![(seconds(1), "x".repeat(100_000))];
    pieces.extend(vec![(seconds(1), "x".repeat(500)); 100]);
    let (read, after) = read(1_000_000, pieces).await;
    assert_eq!(read.unwrap_err().word(), "rate-too-low");
    assert_eq!(after, 60);
}

#[tokio::test(start_paused = true)]
async fn a_body_above_the_least_rate_comes_whole() {
    let piece = (seconds(1), "x".repeat(1_100));
    let (read, after) = read(110_000, vec![piece; 100]).await;
    assert_eq!((read.unwrap(), after), (110_000, 100));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_the_origins_fault() {
    let bench = Bench::new();
    let pieces = vec![
        (Duration::ZERO, long(4)),
        (seconds(1), "ab".into()),
        (seconds(200), "cd".into()),
    ];
    bench.site(HOME).set([Reply::Slowly(pieces)]);
    let mut body = bench.fetch(HOME).await.unwrap().body;
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "ab");
    tokio::time::sleep(seconds(190)).await;
    assert_eq!(text(body).await.unwrap(), "cd");
}

#[tokio::test(start_paused = true)]
async fn a_broken_body_is_an_error() {
    let bench = Bench::new();
    bench.site(HOME).set([Reply::Close(long(10) + "12345")]);
    let fetched = bench.fetch(HOME).await.unwrap();
    let error = text(fetched.body).await.unwrap_err();
    assert_eq!(error.to_string(), "http://home.test broke off its answer");

    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    bench.site(HOME).set([Reply::Close(chunked.into())]);
    let fetched = bench.fetch(HOME).await.unwrap();
    assert_eq!(fetched.length, None);
    assert_eq!(text(fetched.body).await.unwrap_err().word(), "closed");
}
