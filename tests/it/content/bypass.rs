//! A store that cannot take or give a body fails no request that the upstream can answer.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::Version;
use sluice::store::{Fault, Probe, Step};

use super::resume::ranges;
use super::{HOLD_BACK, NAME, PATH, big, file, gated, origin, place};
use crate::harness::fixture::{MODIFIED, package};
use crate::harness::{Act, Ask, Framing, Gate, Reply, TestProxy, pass, seconds};

/// Steps of the store that fail while a test wants them to.
#[derive(Clone, Default)]
struct Faults {
    wanted: Arc<Mutex<Vec<(Step, Fault)>>>,
    met: Arc<AtomicUsize>,
}

impl Faults {
    fn set(&self, wanted: &[(Step, Fault)]) {
        *self.wanted.lock().unwrap() = wanted.to_vec();
    }

    fn probe(&self) -> Probe {
        let faults = self.clone();
        Probe::new(move |step| {
            let wanted = faults.wanted.lock().unwrap();
            let (_, fault) = *wanted.iter().find(|(wanted, _)| *wanted == step)?;
            faults.met.fetch_add(1, Ordering::Relaxed);
            Some(fault)
        })
    }

    fn met(&self) -> usize {
        self.met.load(Ordering::Relaxed)
    }
}

/// The first byte of a range.
fn first_byte(range: &str) -> Option<usize> {
    range
        .strip_prefix("bytes=")?
        .split('-')
        .next()?
        .parse()
        .ok()
}

const FULL: (Step, Fault) = (Step::Reserve, Fault::Io(ErrorKind::StorageFull));
const NO_WRITE: (Step, Fault) = (Step::Write, Fault::Io(ErrorKind::StorageFull));

/// A proxy whose upstream answers for the package so, and whose store fails so.
async fn proxy(reply: Reply, wanted: &[(Step, Fault)]) -> (TestProxy, Faults) {
    let faults = Faults::default();
    faults.set(wanted);
    let probe = faults.probe();
    let proxy = TestProxy::with(origin(reply), |setup| setup.store.probe = Some(probe)).await;
    (proxy, faults)
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_a_client_gets_the_upstreams_stream() {
    for bytes in [1_000, 300_000, 3 << 20] {
        let whole = big(bytes);
        let (proxy, faults) = proxy(file(&whole), &[FULL]).await;
        let answer = proxy.get(PATH).await.expect("bypass.store");
        assert_eq!(answer.body, whole);
        let length = whole.len().to_string();
        assert_eq!(answer.header("content-length"), Some(&*length));
        assert_eq!(proxy.origin.count(NAME), 1);
        proxy.get(PATH).await.expect("bypass.store");
        assert_eq!(proxy.origin.count(NAME), 2);
        faults.set(&[]);
        assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
        assert_eq!(proxy.get(PATH).await.expect("hit").body, whole);
        assert_eq!(proxy.origin.count(NAME), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_clients_of_one_fetch_get_streams_of_their_own() {
    let whole = big(300_000);
    let gate = Gate::new();
    let (proxy, _) = proxy(file(&whole).gate(&gate), &[FULL]).await;
    let clients: Vec<_> = (0..3).map(|_| proxy.spawn(Ask::get(PATH))).collect();
    gate.reached().await;
    pass(seconds(1)).await;
    gate.open();
    for client in clients {
        let answer = client.await.unwrap().expect("bypass.store");
        assert_eq!(answer.body, whole);
    }
    assert_eq!(proxy.origin.count(NAME), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stream_past_the_store_flows_and_holds_its_end_back() {
    for framing in [Framing::Length, Framing::Chunked] {
        let whole = big(300_000);
        let (gate, reply) = gated(&whole, whole.len() - 1);
        let (proxy, _) = proxy(reply.framing(framing), &[FULL]).await;
        let mut opened = Ask::get(PATH).open(&proxy.proxy).await;
        let free = match framing {
            Framing::Length => whole.len() - HOLD_BACK,
            Framing::Chunked | Framing::Close => whole.len() - 1 - HOLD_BACK,
        };
        assert_eq!(opened.at_least(free).await, whole[..free]);
        assert!(super::is_pending(opened.chunk()).await);
        gate.open();
        let rest = opened.collect().await.expect("bypass.store");
        assert_eq!(rest.body, whole[free..]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_past_the_store_runs_the_checks() {
    for bytes in [1_000, 300_000, 3 << 20] {
        let whole = big(bytes);
        let mut flipped = whole.clone();
        flipped[500] ^= 1;
        let digest = file(&whole).value("content-md5").unwrap().to_owned();
        let mut bad = vec![
            Reply::file(flipped).header("Content-MD5", &digest),
            file(&whole[..whole.len() - 23]),
            file(format!("<html>{}", "x".repeat(bytes)).as_bytes()),
        ];
        if bytes < 1 << 20 {
            bad.push(file(&package("Sample.Bag", "1.0.0", bytes)));
        }
        for reply in bad {
            let total = reply.bytes().len();
            let (proxy, _) = proxy(reply, &[FULL]).await;
            let answer = proxy.get(PATH).await;
            if total <= HOLD_BACK {
                answer.expect_status(502, "failed.bad-body");
            } else {
                assert!(answer.broken.is_some());
                assert!(answer.body.len() <= total - HOLD_BACK);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_past_the_store_undoes_a_coding() {
    for bytes in [1_000, 300_000] {
        let whole = big(bytes);
        let reply = Reply::file(whole.clone()).gzip().md5();
        let (proxy, _) = proxy(reply, &[FULL]).await;
        let answer = proxy.get(PATH).await.expect("bypass.store");
        assert_eq!(answer.header("content-encoding"), None);
        assert_eq!(answer.body, whole);
    }
}

#[tokio::test(start_paused = true)]
async fn to_http_1_0_a_stream_of_unknown_length_goes_out_after_its_verdict() {
    let whole = big(300_000);
    let ask = Ask::get(PATH).version(Version::HTTP_10);
    let (good, _) = proxy(file(&whole).framing(Framing::Chunked), &[FULL]).await;
    let answer = good.send(ask.clone()).await.expect("bypass.store");
    let length = whole.len().to_string();
    assert_eq!(answer.header("content-length"), Some(&*length));
    assert_eq!(answer.body, whole);
    let cut = file(&whole[..whole.len() - 23]).framing(Framing::Chunked);
    let (bad, _) = proxy(cut, &[FULL]).await;
    bad.send(ask).await.expect_status(502, "failed.bad-body");
}

/// Ten readers of one fetch, three of them of a part, when the disk fails in the middle; what the upstream then
/// answers each of them with.
async fn ten_readers_of_a_failing_disk(whole: &[u8], first: Reply, then: Act) -> Outcomes {
    let gate = Gate::new();
    let (proxy, faults) = proxy(first.clone(), &[]).await;
    let gated = Act::from(first.body_gate(600_000, &gate));
    proxy.origin.script(&place(), [gated, then]);
    let parts = [(0, 99), (100_000, 999_999), (1_400_000, 1_499_999)];
    let mut readers = Vec::new();
    for _ in 0..7 {
        let mut opened = Ask::get(PATH).open(&proxy.proxy).await;
        let taken = opened.at_least(100_000).await;
        readers.push((opened, taken, 0, whole.len()));
    }
    for (start, last) in parts {
        let ask = Ask::get(PATH).header("range", &format!("bytes={start}-{last}"));
        let opened = ask.open(&proxy.proxy).await;
        assert_eq!(opened.status, 206);
        readers.push((opened, Vec::new(), start, last + 1));
    }
    gate.reached().await;
    faults.set(&[NO_WRITE]);
    gate.open();
    let mut outcomes = Outcomes::default();
    for (opened, mut taken, start, end) in readers {
        let rest = opened.collect().await;
        taken.extend_from_slice(&rest.body);
        match rest.broken {
            None => {
                assert_eq!(taken, whole[start..end]);
                outcomes.whole += 1;
            }
            Some(_) => {
                assert!(taken.len() <= (end - start).saturating_sub(HOLD_BACK));
                outcomes.broken += 1;
            }
        }
    }
    assert!(faults.met() > 0);
    outcomes.asked = proxy.origin.count(NAME);
    outcomes.parts = ranges(&proxy)
        .iter()
        .filter_map(|range| first_byte(range))
        .collect();
    faults.set(&[]);
    proxy.origin.on(&place(), file(whole));
    assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
    outcomes
}

#[derive(Debug, Default)]
struct Outcomes {
    whole: usize,
    broken: usize,
    asked: usize,
    /// First bytes of the parts that were asked for.
    parts: Vec<usize>,
}

#[tokio::test(start_paused = true)]
async fn when_the_disk_fails_in_the_middle_all_readers_go_on_without_it() {
    let whole = big(1_500_000);
    let reply = file(&whole);
    let outcomes = ten_readers_of_a_failing_disk(&whole, reply.clone(), reply.into()).await;
    assert_eq!((outcomes.whole, outcomes.broken), (10, 0));
    assert_eq!(outcomes.asked, 11);
}

#[tokio::test(start_paused = true)]
async fn when_the_disk_fails_in_the_middle_readers_ask_for_the_rest_alone() {
    let whole = big(1_500_000);
    let reply = file(&whole).ranges();
    let outcomes = ten_readers_of_a_failing_disk(&whole, reply.clone(), reply.into()).await;
    assert_eq!((outcomes.whole, outcomes.broken), (10, 0));
    assert_eq!(outcomes.asked, 11);
    // Whoever had nothing yet asks for its own part, or for the whole if nothing is there before it.
    let mut parts = outcomes.parts;
    parts.sort_unstable();
    assert_eq!((parts.len(), parts[0]), (8, 100_000));
    for first in &parts[1..] {
        assert!((500_000..800_000).contains(first), "{first}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_another_body_is_given_to_nobody() {
    let whole = big(1_500_000);
    let mut other = whole.clone();
    other[1_000_000] ^= 1;
    // The rest comes from a body that calls itself the same and is not.
    let digest = file(&whole).value("content-md5").unwrap().to_owned();
    let etag = file(&whole).value("etag").unwrap().to_owned();
    let other = Reply::file(other)
        .header("ETag", &etag)
        .header("Content-MD5", &digest)
        .ranges();
    let outcomes = ten_readers_of_a_failing_disk(&whole, file(&whole), other.into()).await;
    assert_eq!((outcomes.whole, outcomes.broken), (0, 10));
}

#[tokio::test(start_paused = true)]
async fn readers_of_a_failing_disk_go_on_by_tag_or_date_alone() {
    let whole = big(1_500_000);
    for (name, value) in [("ETag", "unquoted"), ("Last-Modified", MODIFIED)] {
        let reply = Reply::file(whole.clone()).header(name, value);
        let outcomes =
            ten_readers_of_a_failing_disk(&whole, reply.clone(), reply.clone().into()).await;
        assert_eq!((outcomes.whole, outcomes.broken), (10, 0), "{name}");
        // Without a digest nothing tells at the end whether pieces belong together.
        let reply = reply.ranges();
        let outcomes = ten_readers_of_a_failing_disk(&whole, reply.clone(), reply.into()).await;
        assert_eq!((outcomes.whole, outcomes.broken), (10, 0), "{name}");
        assert_eq!(outcomes.parts, [0; 0], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn readers_of_a_failing_disk_break_rather_than_get_two_bodies_in_one() {
    let whole = big(1_500_000);
    let mut other = whole.clone();
    other[1_000_000] ^= 1;
    // Only whoever had nothing yet may take what differs, or cannot be told apart.
    let bare = Reply::file(whole.clone());
    let outcomes = ten_readers_of_a_failing_disk(&whole, bare.clone(), bare.into()).await;
    assert_eq!((outcomes.whole, outcomes.broken), (3, 7));
    let gone = Reply::new(404, "").into();
    let outcomes = ten_readers_of_a_failing_disk(&whole, file(&whole), gone).await;
    assert_eq!((outcomes.whole, outcomes.broken), (0, 10));
    let short = file(&big(1_000_000)).into();
    let outcomes = ten_readers_of_a_failing_disk(&whole, file(&whole), short).await;
    assert_eq!((outcomes.whole, outcomes.broken), (0, 10));
    // Its tag is another, though its length is the same.
    let tagged = |bytes: &[u8], tag: &str| Reply::file(bytes.to_vec()).header("ETag", tag);
    let outcomes = ten_readers_of_a_failing_disk(
        &whole,
        tagged(&whole, "\"1\""),
        tagged(&whole, "\"2\"").into(),
    )
    .await;
    assert_eq!((outcomes.whole, outcomes.broken), (3, 7));
    // Its digest belies its bytes: nobody gets to the end of it.
    let digest = file(&whole).value("content-md5").unwrap().to_owned();
    let belied = Reply::file(other).header("Content-MD5", &digest);
    let outcomes = ten_readers_of_a_failing_disk(&whole, file(&whole), belied.into()).await;
    assert_eq!((outcomes.whole, outcomes.broken), (0, 10));
}

#[tokio::test(start_paused = true)]
async fn between_the_end_of_a_fetch_and_its_row_a_second_client_gets_the_checked_file() {
    let hanging = [Step::Trailer, Step::Sync, Step::Rename, Step::Row];
    for step in hanging {
        for bytes in [1_000, 300_000] {
            let whole = big(bytes);
            let (proxy, faults) = proxy(file(&whole), &[(step, Fault::Hang)]).await;
            assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
            for _ in 0..3 {
                assert_eq!(proxy.get(PATH).await.expect("hit").body, whole, "{step:?}");
                pass(seconds(2)).await;
            }
            let part = Ask::get(PATH).header("range", "bytes=10-19");
            assert_eq!(proxy.send(part).await.body, whole[10..20]);
            assert_eq!(proxy.origin.count(NAME), 1);
            assert!(faults.met() > 0, "{step:?}");
            faults.set(&[]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_could_not_be_named_is_asked_again_and_disturbs_no_reader() {
    for step in [Step::Trailer, Step::Sync, Step::Rename] {
        let whole = big(300_000);
        let failing = [(step, Fault::Io(ErrorKind::StorageFull))];
        let (proxy, faults) = proxy(file(&whole), &failing).await;
        assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
        pass(seconds(1)).await;
        faults.set(&[]);
        assert_eq!(proxy.get(PATH).await.expect("miss").body, whole, "{step:?}");
        pass(seconds(1)).await;
        assert_eq!(proxy.get(PATH).await.expect("hit").body, whole, "{step:?}");
        assert_eq!(proxy.origin.count(NAME), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_under_way_that_cannot_be_read_comes_from_the_upstream() {
    let whole = big(600_000);
    let (gate, reply) = gated(&whole, 590_000);
    let (proxy, faults) = proxy(reply.clone(), &[]).await;
    proxy
        .origin
        .script(&place(), [reply.into(), file(&whole).into()]);
    let mut opened = Ask::get(PATH).open(&proxy.proxy).await;
    let mut taken = opened.at_least(1).await;
    gate.reached().await;
    faults.set(&[(Step::Read, Fault::Io(ErrorKind::Other))]);
    while let Ok(Some(chunk)) = tokio::time::timeout(seconds(1), opened.chunk()).await {
        taken.extend_from_slice(&chunk.unwrap());
    }
    faults.set(&[]);
    gate.open();
    let rest = opened.collect().await;
    assert_eq!(rest.broken, None);
    taken.extend_from_slice(&rest.body);
    assert_eq!(taken, whole);
    assert!(faults.met() > 0);
}

const UNREADABLE: (Step, Fault) = (Step::Read, Fault::Io(ErrorKind::Other));

#[tokio::test(start_paused = true)]
async fn a_stored_file_that_cannot_be_read_comes_from_the_upstream_and_is_set_aside() {
    for bytes in [1_000, 600_000] {
        let whole = big(bytes);
        let (proxy, faults) = proxy(file(&whole), &[]).await;
        proxy.get(PATH).await.expect("miss");
        pass(seconds(1)).await;
        faults.set(&[UNREADABLE]);
        assert_eq!(proxy.get(PATH).await.expect("hit").body, whole);
        faults.set(&[]);
        assert_eq!(proxy.origin.count(NAME), 2);
        assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
        assert_eq!(proxy.get(PATH).await.expect("hit").body, whole);
        assert_eq!(proxy.origin.count(NAME), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_file_that_fails_in_the_middle_is_never_completed_with_another() {
    let whole = big(600_000);
    let (proxy, faults) = proxy(file(&whole), &[]).await;
    proxy.get(PATH).await.expect("miss");
    pass(seconds(1)).await;
    let new = big(600_001);
    proxy.origin.on(&place(), file(&new));
    let mut opened = Ask::get(PATH).open(&proxy.proxy).await;
    let taken = opened.at_least(100_000).await;
    faults.set(&[UNREADABLE]);
    let rest = opened.collect().await;
    faults.set(&[]);
    assert!(rest.broken.is_some());
    assert!(taken.len() + rest.body.len() < whole.len());
    assert_eq!(proxy.get(PATH).await.expect("miss").body, new);
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_stored_file_that_fails_in_the_middle_goes_on_at_its_place() {
    let whole = big(900_000);
    let (proxy, faults) = proxy(file(&whole), &[]).await;
    proxy.get(PATH).await.expect("miss");
    pass(seconds(1)).await;
    let ask = Ask::get(PATH).header("range", "bytes=100000-799999");
    let mut opened = ask.open(&proxy.proxy).await;
    let mut taken = opened.at_least(1).await;
    faults.set(&[UNREADABLE]);
    let rest = opened.collect().await;
    assert_eq!(rest.broken, None);
    taken.extend_from_slice(&rest.body);
    assert_eq!(taken, whole[100_000..800_000]);
    assert_eq!(proxy.origin.count(NAME), 2);
}
