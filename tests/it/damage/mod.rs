//! Stored files that change behind our back, while they are sent and before: nothing wrong is served, what is damaged is
//! found, counted, told of once and fetched again.

#[cfg(target_os = "linux")]
mod of_a_machine;
#[cfg(target_os = "linux")]
mod of_a_process;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{Method, Version};
use sluice::store::{Fault, Probe, Step, StoreFault};

use crate::harness::fixture::{
    FLAT, LIST, LIST_ASKED, MODIFIED, content_path, nuget_like, package,
};
use crate::harness::log::Log;
use crate::harness::secure::Secure;
use crate::harness::{Ask, Opened, Origin, Reply, TestProxy, pass, seconds};

/// The package of these tests; the fixture knows none of this name.
const ID: &str = "Sample.Big";
const PATH: &str = "/v3/flatcontainer/sample.big/1.0.0/sample.big.1.0.0.nupkg";
const NAME: &str = "GET api.test/v3-flatcontainer/sample.big/1.0.0/sample.big.1.0.0.nupkg";
/// What the log says of each damaged body.
const SET_ASIDE: &str = "a stored body is damaged and set aside";

/// The file of the stored package; no other is as large.
fn body_of(data: &Path) -> PathBuf {
    let folders = std::fs::read_dir(data.join("bodies")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    let length = |path: &PathBuf| path.metadata().unwrap().len();
    paths.into_iter().max_by_key(length).unwrap()
}

fn cut(path: &Path, length: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

/// Changes a bit of every stored file that holds `bytes`.
fn flip_all(data: &Path, bytes: &[u8]) -> usize {
    let mut flipped = 0;
    for folder in std::fs::read_dir(data.join("bodies")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let mut found = std::fs::read(&path).unwrap();
            if found.starts_with(bytes) {
                found[bytes.len() / 2] ^= 1;
                std::fs::write(path, found).unwrap();
                flipped += 1;
            }
        }
    }
    flipped
}

/// An upstream that has the package, whole and in parts.
fn origin(whole: &[u8]) -> Origin {
    let origin = nuget_like();
    let etag = format!("\"0x{:08X}\"", crc32c::crc32c(whole));
    let reply = Reply::file(whole.to_vec())
        .header("ETag", &etag)
        .header("Last-Modified", MODIFIED)
        .md5()
        .ranges();
    origin.on(&format!("{FLAT}/{}", content_path(ID, "1.0.0")), reply);
    origin
}

/// A proxy that has the package stored.
async fn stocked(whole: &[u8]) -> TestProxy {
    let proxy = TestProxy::with(origin(whole), |_| {}).await;
    proxy.get(PATH).await.expect("miss");
    pass(seconds(1)).await;
    proxy
}

/// First bytes of what the upstream was asked for after the first question; `None` for the whole.
fn asked_from(proxy: &TestProxy) -> Vec<Option<usize>> {
    let seen = proxy.origin.seen(NAME);
    let ranges = seen.iter().skip(1).map(|seen| {
        let range = seen.header("range")?.strip_prefix("bytes=")?.split('-');
        range.into_iter().next()?.parse().ok()
    });
    ranges.collect()
}

fn faults(proxy: &TestProxy, fault: StoreFault) -> u64 {
    let faults = proxy.store.usage().faults;
    let found = faults.iter().find(|(known, _)| *known == fault);
    found.unwrap().1
}

/// The next request fetches the package anew, and the one after that finds it.
async fn check_healed(proxy: &TestProxy, whole: &[u8]) {
    assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
    pass(seconds(1)).await;
    assert_eq!(proxy.get(PATH).await.expect("hit").body, whole);
    let usage = proxy.store.usage();
    assert_eq!(usage.quarantined, 1, "{usage:?}");
}

async fn ten_readers(proxy: &TestProxy) -> Vec<(Opened, Vec<u8>)> {
    let mut readers = Vec::new();
    for _ in 0..10 {
        let mut opened = Ask::get(PATH).open(&proxy.proxy).await;
        let taken = opened.at_least(100_000).await;
        readers.push((opened, taken));
    }
    readers
}

#[tokio::test(start_paused = true)]
async fn a_file_cut_while_ten_read_it_is_completed_from_where_it_ends() {
    let whole = package(ID, "1.0.0", 1 << 20);
    let proxy = stocked(&whole).await;
    let log = Log::listen();
    let readers = ten_readers(&proxy).await;
    cut(&body_of(&proxy.data_dir()), 600_000);
    for (opened, mut taken) in readers {
        let rest = opened.collect().await;
        assert_eq!(rest.broken, None);
        taken.extend_from_slice(&rest.body);
        assert!(taken == whole, "the bytes differ");
    }
    let from = asked_from(&proxy);
    assert_eq!(from.len(), 10);
    for first in from {
        assert!(first.is_some_and(|first| first > 500_000), "{first:?}");
    }
    check_healed(&proxy, &whole).await;
    assert_eq!(faults(&proxy, StoreFault::Truncated), 10);
    let told = log.lines_with("WARN");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains(SET_ASIDE), "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_file_cut_in_an_outage_breaks_its_readers_at_once_and_is_a_miss() {
    let whole = package(ID, "1.0.0", 1 << 20);
    let proxy = stocked(&whole).await;
    let readers = ten_readers(&proxy).await;
    proxy.origin.all_down();
    cut(&body_of(&proxy.data_dir()), 600_000);
    for (opened, mut taken) in readers {
        let length: usize = opened.headers["content-length"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        let began = proxy.clock.instant();
        let rest = opened.collect().await;
        assert!(began.elapsed() <= seconds(16), "{:?}", began.elapsed());
        assert!(rest.broken.is_some());
        taken.extend_from_slice(&rest.body);
        assert!(taken.len() < length && whole.starts_with(&taken));
    }
    let answer = proxy.get(PATH).await;
    assert!(matches!(answer.status, 502..=504), "{answer:?}");
    proxy.origin.mend_all();
    pass(seconds(60)).await;
    check_healed(&proxy, &whole).await;
}

#[tokio::test(start_paused = true)]
async fn over_tls_a_file_cut_while_it_is_sent_is_completed_or_breaks() {
    let whole = package(ID, "1.0.0", 3 << 20);
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for is_down in [false, true] {
            // At the tenth piece of 64 KiB, the file loses its second half.
            let (path, pieces) = (Arc::new(std::sync::OnceLock::new()), AtomicUsize::new(0));
            let victim: Arc<std::sync::OnceLock<PathBuf>> = Arc::clone(&path);
            let probe = Probe::new(move |step| {
                if let (Step::Read, Some(path)) = (step, victim.get())
                    && pieces.fetch_add(1, Ordering::Relaxed) == 10
                {
                    cut(path, 3 << 19);
                }
                None
            });
            let change = |setup: &mut crate::harness::Setup| setup.store.probe = Some(probe);
            let proxy = TestProxy::with(origin(&whole), change).await;
            proxy.get(PATH).await.expect("miss");
            pass(seconds(1)).await;
            path.set(body_of(&proxy.data_dir())).unwrap();
            if is_down {
                proxy.origin.all_down();
            }
            let mut link = Secure::new(&proxy).open(&proxy, version).await;
            let ask = link.send(Method::GET, PATH, &[], bytes::Bytes::new());
            let answer = tokio::time::timeout(seconds(20), ask).await.unwrap();
            assert_eq!(answer.status, 200);
            if is_down {
                assert!(answer.broken.is_some(), "{version:?}");
                proxy.origin.mend_all();
                pass(seconds(60)).await;
            } else {
                assert_eq!(answer.broken, None, "{version:?}");
                assert!(answer.body == whole, "{version:?}: the bytes differ");
                assert!(asked_from(&proxy)[0].is_some_and(|first| first > 1_500_000));
            }
            check_healed(&proxy, &whole).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_reaches_nobody_in_a_document_and_one_at_most_in_a_large_package() {
    let (whole, small) = (
        package(ID, "1.0.0", 1 << 20),
        package("Sample.One", "1.0.0", 40_000),
    );
    let path = format!("/v3/flatcontainer/{}", content_path("Sample.One", "1.0.0"));
    let proxy = stocked(&whole).await;
    let list = proxy.get(LIST).await.body;
    proxy.get(&path).await.expect("miss");
    pass(seconds(1)).await;
    let log = Log::listen();
    let proxy = proxy
        .restart_with(|data| {
            for bytes in [&*list, &*small, &*whole] {
                assert_eq!(flip_all(&data, bytes), 1);
            }
        })
        .await;
    pass(seconds(1)).await;
    // Read whole before its first byte is sent.
    assert_eq!(proxy.get(LIST).await.expect("miss").body, list);
    assert_eq!(proxy.get(&path).await.body, small);
    let first = proxy.get(PATH).await.expect("hit").body;
    assert!(first != whole);
    pass(seconds(1)).await;
    check_second(
        &proxy,
        &[(LIST, &*list), (&*path, &*small), (PATH, &*whole)],
    )
    .await;
    let told = log.lines_with(SET_ASIDE);
    assert_eq!(told.len(), 3, "{told:#?}");
    assert_eq!(proxy.store.usage().quarantined, 3);
    // Each time that somebody came upon one.
    assert!(faults(&proxy, StoreFault::Rotten) >= 3);
    assert_eq!(proxy.origin.count(LIST_ASKED), 2);
}

async fn check_second(proxy: &TestProxy, expected: &[(&str, &[u8])]) {
    for (path, bytes) in expected {
        let answer = proxy.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body == bytes, "{path}: the bytes differ");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_file_goes_on_to_its_readers_and_is_fetched_again_for_others() {
    let whole = package(ID, "1.0.0", 1 << 20);
    let proxy = TestProxy::with(origin(&whole), |setup| {
        setup.store.max_open_bodies = Some(1);
    })
    .await;
    proxy.get(PATH).await.expect("miss");
    pass(seconds(1)).await;
    let log = Log::listen();
    let readers = ten_readers(&proxy).await;
    std::fs::remove_file(body_of(&proxy.data_dir())).unwrap();
    // Whatever is asked for next takes the place of what is held open.
    proxy.get(LIST).await;
    pass(seconds(1)).await;
    assert_eq!(proxy.get(PATH).await.expect("miss").body, whole);
    for (opened, mut taken) in readers {
        let rest = opened.collect().await;
        taken.extend_from_slice(&rest.body);
        assert_eq!((rest.broken, taken == whole), (None, true));
    }
    pass(seconds(1)).await;
    assert_eq!(proxy.get(PATH).await.expect("hit").body, whole);
    assert_eq!(proxy.origin.count(NAME), 2);
    assert_eq!(faults(&proxy, StoreFault::Missing), 1);
    assert_eq!(log.lines_with("was deleted by somebody else").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn on_a_folder_that_became_read_only_requests_go_on_and_the_log_says_so_once() {
    let whole = package(ID, "1.0.0", 1 << 20);
    let switch = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&switch);
    let proxy = TestProxy::with(origin(&whole), |setup| {
        setup.store.probe = Some(Probe::new(move |step| {
            let reads = matches!(step, Step::IndexRead | Step::Open | Step::Read);
            let fails = !reads && seen.load(Ordering::SeqCst);
            fails.then_some(Fault::Io(ErrorKind::ReadOnlyFilesystem))
        }));
    })
    .await;
    let path = format!("/v3/flatcontainer/{}", content_path("Sample.One", "1.0.0"));
    let small = proxy.get(&path).await.expect("miss").body;
    pass(seconds(1)).await;
    let log = Log::listen();
    switch.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        assert_eq!(proxy.get(&path).await.expect("hit").body, small);
        assert!(proxy.get(PATH).await.expect("bypass.store").body == whole);
        assert_eq!(proxy.get(LIST).await.status, 200);
        pass(seconds(10)).await;
    }
    let told = log.lines_with("the store fails");
    assert_eq!(told.len(), 1, "{told:#?}");
    switch.store(false, Ordering::SeqCst);
    proxy.get(PATH).await.expect("miss");
    pass(seconds(1)).await;
    assert!(proxy.get(PATH).await.expect("hit").body == whole);
}
