//! Turns at an origin: fair between clients, even by the rate, behind clients what nobody waits for; and waiting for
//! them is never the origin's failure.

use std::num::NonZeroU64;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::tasks::Drained;

/// A client with a great many requests, and one with a single one.
const MANY: &str = "192.0.2.1";
const ONE: &str = "198.51.100.1";

fn limited(requests: u64) -> Settings {
    Settings {
        max_requests_per_second: NonZeroU64::new(requests),
        ..Settings::default()
    }
}

fn narrow(connections: usize) -> Settings {
    Settings {
        max_connections: connections,
        ..Settings::default()
    }
}

async fn sleep(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

impl Bench {
    /// Reads `path` to its end for somebody.
    fn take(&self, path: &str, stake: &Arc<Stake>) -> JoinHandle<Result<usize, UpstreamError>> {
        let mut read = self.read(&format!("{HOME}{path}"));
        read.stake = Arc::clone(stake);
        let upstream = self.upstream.clone();
        self.tasks.spawn("client", async move {
            let fetched = upstream.fetch(read).await?;
            text(fetched.body).await.map(|text| text.len())
        })
    }

    /// The same, by a client with a stake of its own.
    fn take_for(&self, client: &str, path: &str) -> JoinHandle<Result<usize, UpstreamError>> {
        self.take(path, &stake_of(client, Urgency::Client))
    }

    fn requests_waiting(&self) -> (usize, usize) {
        let queue = self.upstream.queues().into_iter().next().unwrap();
        (
            queue.requests.waiting_clients,
            queue.requests.waiting_behind,
        )
    }
}

impl Site {
    /// The paths asked for, in order.
    fn paths(&self) -> Vec<String> {
        let path = |head: &String| head.split(' ').nth(1).unwrap().to_owned();
        self.requests().iter().map(path).collect()
    }

    /// The place of a path among them.
    fn place_of(&self, path: &str) -> usize {
        let paths = self.paths();
        paths.iter().position(|asked| asked == path).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn one_request_is_not_behind_five_hundred_for_a_connection() {
    let bench = Bench::with(HOME, narrow(2));
    let site = bench.site(HOME);
    site.set([Reply::Hang, Reply::Hang, Reply::Keep(ok("x"))]);
    let many: Vec<_> = (0..500)
        .map(|at| bench.take_for(MANY, &format!("/many/{at}")))
        .collect();
    sleep(1).await;
    let one = bench.take_for(ONE, "/one");
    sleep(1).await;
    assert_eq!((site.asked(), bench.requests_waiting()), (2, (499, 0)));
    site.released.send_replace(true);
    one.await.unwrap().unwrap();
    for read in many {
        read.await.unwrap().unwrap();
    }
    assert_eq!(site.asked(), 501);
    assert!(site.place_of("/one") <= 3, "{}", site.place_of("/one"));
    assert_eq!(bench.requests_waiting(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn requests_are_sent_evenly_and_one_is_not_behind_a_hundred() {
    let bench = Bench::with(HOME, limited(10));
    let site = bench.site(HOME);
    site.set([Reply::Keep(ok("x"))]);
    let many: Vec<_> = (0..100)
        .map(|at| bench.take_for(MANY, &format!("/many/{at}")))
        .collect();
    let before = Instant::now();
    sleep(1_050).await;
    assert_eq!(site.asked(), 11);
    let one = bench.take_for(ONE, "/one");
    one.await.unwrap().unwrap();
    let waited = before.elapsed().as_millis();
    assert!(waited <= 1_300, "{waited}");
    for read in many {
        read.await.unwrap().unwrap();
    }
    assert_eq!((before.elapsed().as_millis(), site.asked()), (10_000, 101));
    // Whoever gave the turns has gone.
    let before = Instant::now();
    let drained = bench.tasks.drain(Duration::from_secs(20)).await;
    assert_eq!(drained, Drained::Complete);
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_retry_takes_a_turn_too() {
    let bench = Bench::with(HOME, limited(1));
    let site = bench.site(HOME);
    let busy = Reply::Keep(answer("503 Busy", "", ""));
    site.set([busy.clone(), busy, Reply::Keep(ok("x"))]);
    let before = Instant::now();
    assert_eq!(bench.get(HOME).await.0, 200);
    assert_eq!(before.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn failures_count_by_when_their_requests_were_sent() {
    let bench = Bench::with(HOME, limited(1));
    let site = bench.site(HOME);
    site.set_door(Door::Refuse);
    let reads: Vec<_> = (0..5).map(|_| bench.take_for(MANY, "/")).collect();
    for read in reads {
        let error = read.await.unwrap().unwrap_err();
        assert_eq!(error.word(), "breaker-open");
    }
    assert_eq!(site.connections.load(Ordering::SeqCst), 5);
}

#[tokio::test(start_paused = true)]
async fn between_two_attempts_a_request_holds_no_turn() {
    let bench = Bench::with(HOME, narrow(1));
    let site = bench.site(HOME);
    let busy = answer("503 Busy", "Retry-After: 7\r\n", "busy");
    site.set([Reply::Keep(busy), Reply::Keep(ok("x"))]);
    let pauses = bench.take_for(MANY, "/pauses");
    sleep(10).await;
    let before = Instant::now();
    bench.take_for(MANY, "/other").await.unwrap().unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
    pauses.await.unwrap().unwrap();
    assert_eq!(site.paths(), ["/pauses", "/other", "/pauses"]);
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_the_rate_for_whoever_waits() {
    let bench = Bench::with(HOME, limited(1));
    bench.site(HOME).set([Reply::Keep(ok("x"))]);
    let before = Instant::now();
    let reads: Vec<_> = (0..10).map(|_| bench.take_for(MANY, "/")).collect();
    sleep(1_500).await;
    bench.upstream.reload(Settings::default());
    for read in reads {
        read.await.unwrap().unwrap();
    }
    assert_eq!(before.elapsed(), Duration::from_millis(1_500));
    // And the other way round, while all connections are taken.
    let bench = Bench::with(HOME, narrow(1));
    let site = bench.site(HOME);
    site.set([Reply::Hang, Reply::Keep(ok("x"))]);
    let before = Instant::now();
    let reads: Vec<_> = (0..4).map(|_| bench.take_for(MANY, "/")).collect();
    sleep(500).await;
    bench.upstream.reload(limited(1));
    site.released.send_replace(true);
    for read in reads {
        read.await.unwrap().unwrap();
    }
    assert_eq!(before.elapsed(), Duration::from_millis(2_500));
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_runs_out_in_our_queue_is_not_the_origins_failure() {
    let settings = Settings {
        breaker_failures: 1,
        max_hold: Duration::from_secs(4),
        ..limited(1)
    };
    let bench = Bench::with(HOME, settings);
    let site = bench.site(HOME);
    site.set([Reply::Keep(ok("x"))]);
    let reads: Vec<_> = (0..10).map(|_| bench.take_for(MANY, "/")).collect();
    let before = Instant::now();
    let mut failed = 0;
    for read in reads {
        if let Err(error) = read.await.unwrap() {
            assert_eq!((error.word(), error.is_timeout()), ("own-limit", false));
            assert_eq!(before.elapsed(), Duration::from_secs(4));
            failed += 1;
        }
        assert_eq!(bench.home_state(), OriginState::Live);
    }
    // At 0, 1, 2 and 3 seconds; and nobody probed it meanwhile.
    assert!((5..=6).contains(&failed), "{failed}");
    assert_eq!(site.asked(), 10 - failed);
    assert_eq!(bench.requests_waiting(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_turn_is_no_silence_of_the_origin() {
    let bench = Bench::with(HOME, narrow(1));
    let site = bench.site(HOME);
    site.set([body(200 << 10), Reply::Keep(ok("x"))]);
    // Nobody reads it, so that the origin can send no more.
    let unread = bench.fetch(HOME).await.unwrap();
    let waiting = bench.take_for(ONE, "/");
    sleep(5_000).await;
    assert_eq!(bench.home_state(), OriginState::Live);
    assert_eq!(site.asked(), 1);
    drop(unread);
    assert_eq!(waiting.await.unwrap().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn silence_counts_from_when_the_request_was_sent() {
    let settings = Settings {
        max_hold: Duration::from_millis(6_500),
        ..limited(1)
    };
    let bench = Bench::with(HOME, settings);
    let site = bench.site(HOME);
    site.set([Reply::Keep(ok("x"))]);
    let answered: Vec<_> = (0..5).map(|_| bench.take_for(MANY, "/")).collect();
    // Sent after five seconds, it has waited for the origin for a second and a half when its hold ends.
    let hanging = bench.take_for(MANY, "/hang");
    for read in answered {
        read.await.unwrap().unwrap();
    }
    let error = hanging.await.unwrap().unwrap_err();
    assert_eq!(error.word(), "held-out");
    assert_eq!(bench.home_state(), OriginState::Live);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_leaves_connections_to_clients() {
    let bench = Bench::with(HOME, narrow(4));
    let site = bench.site(HOME);
    site.set([Reply::Keep(ok("x"))]);
    let behind: Vec<_> = (0..10)
        .map(|_| bench.take("/hang/behind", &stake_of(MANY, Urgency::Background)))
        .collect();
    sleep(10).await;
    assert_eq!((site.asked(), bench.requests_waiting()), (2, (0, 8)));
    let before = Instant::now();
    bench.take_for(MANY, "/client").await.unwrap().unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
    // For a client that joins there is room at once.
    let refresh = stake_of(MANY, Urgency::Background);
    let joined = bench.take("/joined", &refresh);
    sleep(10).await;
    assert_eq!((site.asked(), bench.requests_waiting()), (3, (0, 9)));
    let one = Asker::new(&"home".into(), Some(ONE.parse().unwrap()));
    refresh.join(one, Urgency::Client);
    joined.await.unwrap().unwrap();
    assert_eq!((site.asked(), bench.requests_waiting()), (4, (0, 8)));
    site.released.send_replace(true);
    for read in behind {
        read.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_comes_behind_clients_and_comes() {
    let bench = Bench::with(HOME, limited(10));
    let site = bench.site(HOME);
    site.set([Reply::Keep(ok("x"))]);
    let behind = [0, 1].map(|at| {
        let stake = stake_of(ONE, Urgency::Background);
        bench.take(&format!("/behind/{at}"), &stake)
    });
    let clients: Vec<_> = (0..40).map(|_| bench.take_for(MANY, "/client")).collect();
    for read in behind.into_iter().chain(clients) {
        read.await.unwrap().unwrap();
    }
    // The first one was asked while nobody else was there.
    assert_eq!(site.place_of("/behind/0"), 0);
    assert_eq!(site.place_of("/behind/1"), 9);
}

#[tokio::test(start_paused = true)]
async fn whoever_joins_brings_a_request_forward() {
    let bench = Bench::with(HOME, limited(10));
    let site = bench.site(HOME);
    site.set([Reply::Keep(ok("x"))]);
    let mut reads: Vec<_> = (0..60).map(|_| bench.take_for(MANY, "/many")).collect();
    let last = stake_of(MANY, Urgency::Client);
    reads.push(bench.take("/last", &last));
    let refresh = stake_of(MANY, Urgency::Background);
    reads.push(bench.take("/refresh", &refresh));
    sleep(10).await;
    assert!(last.is_queued() && refresh.is_queued());
    assert_eq!(bench.requests_waiting(), (60, 1));
    let one = Asker::new(&"home".into(), Some(ONE.parse().unwrap()));
    last.join(one.clone(), Urgency::Client);
    refresh.join(one.clone(), Urgency::Client);
    assert_eq!(bench.requests_waiting(), (61, 0));
    // Whoever joins before it waits has it wait among clients.
    let early = stake_of(MANY, Urgency::Background);
    early.join(one, Urgency::Client);
    reads.push(bench.take("/early", &early));
    sleep(1).await;
    assert_eq!(bench.requests_waiting(), (62, 0));
    for read in reads {
        read.await.unwrap().unwrap();
    }
    assert!(site.place_of("/last") <= 3, "{}", site.place_of("/last"));
    assert!(site.place_of("/refresh") <= 5);
    assert!(site.place_of("/early") <= 7);
    assert!(!last.is_queued());
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_leaves_no_place_behind() {
    let bench = Bench::with(HOME, limited(1));
    let site = bench.site(HOME);
    site.set([Reply::Keep(ok("x"))]);
    bench.take_for(MANY, "/0").await.unwrap().unwrap();
    let left: Vec<_> = (0..10).map(|_| bench.take_for(MANY, "/left")).collect();
    sleep(10).await;
    left.iter().for_each(JoinHandle::abort);
    sleep(1).await;
    assert_eq!(bench.requests_waiting(), (0, 0));
    let before = Instant::now();
    bench.take_for(MANY, "/1").await.unwrap().unwrap();
    assert!(before.elapsed() <= Duration::from_secs(1));
    assert_eq!(site.paths(), ["/0", "/1"]);
}

fn slow_line(bytes: u64) -> Settings {
    Settings {
        max_bytes_per_second: NonZeroU64::new(bytes),
        ..Settings::default()
    }
}

fn body(bytes: usize) -> Reply {
    Reply::Keep(ok(&"x".repeat(bytes)))
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_ours_trips_no_limit_of_the_origins() {
    // Slower than the least rate, and between two pieces longer than the longest pause.
    let settings = Settings {
        min_rate_bytes: 64 << 10,
        ..slow_line(1 << 10)
    };
    let bench = Bench::with(HOME, settings);
    bench.site(HOME).set([body(400 << 10)]);
    let before = Instant::now();
    let read = bench.take_for(MANY, "/").await.unwrap();
    assert_eq!(read.unwrap(), 400 << 10);
    let took = before.elapsed().as_secs();
    // The last pieces are paid for by whoever comes next.
    assert!((250..=400).contains(&took), "{took}");
    assert_eq!(bench.home_state(), OriginState::Live);
}

#[tokio::test(start_paused = true)]
async fn bodies_come_at_the_rate_all_together_and_share_it() {
    let bench = Bench::with(HOME, slow_line(100 << 10));
    bench.site(HOME).set([body(200 << 10)]);
    let before = Instant::now();
    let many: Vec<_> = (0..9).map(|_| bench.take_for(MANY, "/many")).collect();
    let one = bench.take_for(ONE, "/one");
    assert_eq!(one.await.unwrap().unwrap(), 200 << 10);
    // Half of the rate: the other half is for the client with nine bodies.
    let took = before.elapsed().as_millis();
    assert!((2_500..=5_500).contains(&took), "{took}");
    let mut ends = Vec::new();
    for read in many {
        assert_eq!(read.await.unwrap().unwrap(), 200 << 10);
        ends.push(before.elapsed().as_millis());
    }
    let last = ends.iter().max().unwrap();
    assert!((18_000..=21_000).contains(last), "{ends:?}");
    // They come side by side, not one after another.
    let first = ends.iter().min().unwrap();
    assert!(*first > 10_000, "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn small_answers_wait_for_one_turn_alone() {
    let bench = Bench::with(HOME, slow_line(16 << 10));
    bench.site(HOME).set([body(100)]);
    let before = Instant::now();
    for _ in 0..20 {
        bench.take_for(MANY, "/").await.unwrap().unwrap();
    }
    // What a turn did not use is given back.
    assert!(before.elapsed() < Duration::from_secs(1));
}
