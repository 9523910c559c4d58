//! Section 7.3: what is stale, and what contradicts itself.

use sluice::proxy::FeedSettings;

use super::{MANY_LIST, package_path};
use crate::harness::fixture::{
    FLAT, LIST, LIST_ASKED, LIST_PLACE, ONE, content_path, document, flat_only, nuget_like,
    package, version_list,
};
use crate::harness::{Answered, Ask, Ending, Origin, Reply, TestProxy, pass, seconds};
use crate::offline::{OFFLINE, check_absent, order};

/// Where 1.0.0 of [`ONE`] lies at the upstream.
const PLACE: &str = "api.test/v3-flatcontainer/sample.one/1.0.0/sample.one.1.0.0.nupkg";

fn expect_bytes(answer: &Answered, expected: &[u8]) {
    assert_eq!((answer.status, &answer.broken), (200, &None));
    assert!(answer.body == expected, "{} bytes", answer.body.len());
}

/// Protocol fact 7.3.1: a list asked again in a session, or a package that it lacks, has the upstream asked, not often.
#[tokio::test(start_paused = true)]
async fn a_second_look_for_a_version_is_not_answered_with_the_same_stale_list() {
    let ask = || Ask::get(LIST).header("x-nuget-session-id", "restore-1");
    let new = document(&version_list(&["1.0.0", "9.0.0"]));
    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    proxy.origin.on(LIST_PLACE, new.clone());
    let first = proxy.send(ask()).await.expect("hit");
    assert!(!first.text().contains("9.0.0"));
    pass(seconds(3)).await;
    let second = proxy.send(ask()).await.expect("miss");
    assert!(second.text().contains("9.0.0"));
    for _ in 0..20 {
        assert_eq!(proxy.send(ask()).await.status, 200);
    }
    assert_eq!(proxy.origin.count(LIST_ASKED), 2);

    let proxy = TestProxy::new().await;
    proxy.get(LIST).await.expect("miss");
    let place = format!("{FLAT}/{}", content_path(ONE, "9.0.0"));
    let file = Reply::file(package(ONE, "9.0.0", 9000));
    proxy.origin.on(&place, file);
    proxy.origin.on(LIST_PLACE, new);
    proxy.get(&package_path(ONE, "9.0.0")).await.expect("miss");
    pass(seconds(1)).await;
    assert!(proxy.get(LIST).await.text().contains("9.0.0"));
}

/// Protocol fact 7.3.2: index and content may disagree: a package is delivered though no list has it.
#[tokio::test(start_paused = true)]
async fn a_package_that_the_list_lacks_is_delivered() {
    let proxy = TestProxy::new().await;
    let list = document(&version_list(&["1.1.0"]));
    proxy.origin.on(LIST_PLACE, list);
    let list = proxy.get(LIST).await.expect("miss");
    assert!(!list.text().contains("1.0.0"));
    let answer = proxy.get(&package_path(ONE, "1.0.0")).await.expect("miss");
    expect_bytes(&answer, &package(ONE, "1.0.0", 40_000));
}

/// Protocol fact 7.3.3: a stored file that was damaged since is not served for ever, and nothing half-written is left.
#[tokio::test(start_paused = true)]
async fn a_damaged_stored_file_does_not_break_every_restore_to_come() {
    let proxy = TestProxy::new().await;
    let path = package_path(ONE, "1.0.0");
    let whole = proxy.get(&path).await.expect("miss").body;
    pass(seconds(1)).await;
    let proxy = proxy.restart_with(|data| {
        let folders = std::fs::read_dir(data.join("bodies")).unwrap();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
        let paths = files.map(|file| file.unwrap().path());
        let of_package = paths.filter(|path| path.metadata().unwrap().len() > 40_000);
        for path in of_package {
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(20_000).unwrap();
        }
    });
    let proxy = proxy.await;
    for detail in ["miss", "hit"] {
        expect_bytes(&proxy.get(&path).await.expect(detail), &whole);
    }
    pass(seconds(1)).await;
    let left = std::fs::read_dir(proxy.data_dir().join("tmp")).unwrap();
    assert_eq!(left.count(), 0);
}

/// Protocol fact 7.3.4: a truncated package is not stored, by whatever it may be told; a repetition gets the whole.
#[tokio::test(start_paused = true)]
async fn a_truncated_package_is_never_replayed() {
    let whole = package(ONE, "1.0.0", 100_000);
    let short = || Reply::file(whole[..60_000].to_vec());
    let digest = Reply::file(whole.clone()).md5();
    let digest = digest.value("content-md5").unwrap();
    for bad in [
        Reply::file(whole.clone()).ending(Ending::Cut(60_000)),
        short().header("Content-MD5", digest),
        // Nothing but the end of the zip file tells.
        short(),
    ] {
        let proxy = TestProxy::new().await;
        proxy.origin.on(PLACE, bad);
        let answer = proxy.get(&package_path(ONE, "1.0.0")).await;
        assert!(answer.status == 502 || answer.broken.is_some());
        proxy.origin.on(PLACE, Reply::file(whole.clone()));
        for detail in ["miss", "hit"] {
            let answer = proxy.get(&package_path(ONE, "1.0.0")).await;
            expect_bytes(&answer.expect(detail), &whole);
        }
    }
}

/// Protocol fact 7.3.5: an empty package is none; 1.0.0.0 and 1.0.0 are the same package, fetched once.
#[tokio::test(start_paused = true)]
async fn an_empty_package_is_none_and_two_spellings_are_one() {
    let proxy = TestProxy::new().await;
    proxy.origin.on(PLACE, Reply::file(""));
    let answer = proxy.get(&package_path(ONE, "1.0.0")).await;
    answer.expect_status(502, "failed.bad-body");
    let file = Reply::file(package(ONE, "1.0.0.0", 9000));
    proxy.origin.on(PLACE, file);
    for (version, detail) in [("1.0.0.0", "miss"), ("1.0.0", "hit"), ("1.0", "hit")] {
        let path = package_path(ONE, version);
        proxy.get(&path).await.expect(detail);
    }
    assert_eq!(proxy.origin.count(&format!("GET {PLACE}")), 2);
}

/// Protocol fact 7.3.6: bytes are never altered, and those of two sources never mixed under one id and version.
#[tokio::test(start_paused = true)]
async fn two_sources_of_one_package_never_mix_their_bytes() {
    let origin = nuget_like();
    flat_only(&origin, "corp.test");
    let ours = package(ONE, "1.0.0", 777);
    let place = format!("corp.test/flat/{}", content_path(ONE, "1.0.0"));
    origin.on(&place, Reply::file(ours.clone()));
    let proxy = TestProxy::with(origin, |setup| {
        let corp = FeedSettings::new("corp", "https://corp.test/index.json");
        setup.proxy.feeds.push(corp);
    })
    .await;
    let path = package_path(ONE, "1.0.0");
    for detail in ["miss", "hit"] {
        let corp = proxy.get(&format!("/corp{path}")).await;
        expect_bytes(&corp.expect(detail), &ours);
        let nuget = proxy.get(&path).await.expect(detail);
        expect_bytes(&nuget, &package(ONE, "1.0.0", 40_000));
    }
}

/// Protocol fact 7.3.7: with the upstream down, stale metadata answers; what was never stored is no 404 unless offline.
#[tokio::test(start_paused = true)]
async fn an_outage_serves_stale_and_says_so_of_what_it_lacks() {
    let proxy = TestProxy::new().await;
    for path in [LIST, &package_path(ONE, "1.0.0")] {
        proxy.get(path).await.expect("miss");
    }
    proxy.origin.all_down();
    pass(seconds(3600)).await;
    let list = proxy.get(LIST).await;
    assert!(list.detail().starts_with("stale."), "{}", list.note());
    proxy.get(&package_path(ONE, "1.0.0")).await.expect("hit");
    for path in [MANY_LIST, &package_path(ONE, "1.1.0")] {
        let (answer, took) = proxy.timed(path).await;
        assert!(matches!(answer.status, 502..=504), "{}", answer.status);
        let reason = answer.reason.unwrap();
        assert!(reason.contains("api.test unreachable since"), "{reason}");
        assert!(took < seconds(15), "{took:?}");
    }
    order(&proxy, OFFLINE);
    let answer = proxy.get(&package_path(ONE, "1.1.0")).await;
    check_absent(&answer, "sample.one 1.1.0");
}

/// Protocol fact 7.3.8: search is the upstream's, not one of what happens to be stored.
#[tokio::test(start_paused = true)]
async fn search_finds_what_nobody_has_asked_for_yet() {
    let proxy = TestProxy::new().await;
    let found = proxy
        .get("/v3/search?q=sample&take=26")
        .await
        .expect("miss");
    assert_eq!(found.json()["data"][0]["id"], ONE);
    let asked: Vec<String> = proxy.origin.all().iter().map(|seen| seen.name()).collect();
    let expected = ["GET api.test/v3/index.json", "GET search-1.test/query"];
    assert_eq!(asked, expected);
}

/// Protocol fact 7.3.9: a stored package is delivered without asking the upstream, be that over its limit or gone.
#[tokio::test(start_paused = true)]
async fn a_stored_package_needs_no_upstream() {
    let proxy = TestProxy::with(nuget_like(), |_| {}).await;
    let path = format!("/v3/flatcontainer/{}", content_path("Sample.One", "1.0.0"));
    let first = proxy.get(&path).await.expect("miss");
    let asked = proxy.origin.total();
    proxy.origin.spell("api.test", Reply::new(429, ""));
    let again = proxy.get(&path).await.expect("hit");
    assert_eq!(again.body, first.body);
    pass(seconds(3600)).await;
    assert_eq!(proxy.origin.total(), asked);
    proxy.origin.all_down();
    pass(seconds(24 * 60 * 60)).await;
    let again = proxy.get(&path).await.expect("hit");
    assert_eq!(again.body, first.body);
}

/// Protocol fact 7.3.10: several upstreams stand behind one Sluice, each whole though another is down.
#[tokio::test(start_paused = true)]
async fn several_upstreams_stand_behind_one_sluice() {
    let origin = Origin::new();
    let names = ["a", "b", "c"];
    for name in names {
        let host = format!("{name}.test");
        flat_only(&origin, &host);
        let list = document(&version_list(&[&format!("1.0.0-{name}")]));
        origin.on(&format!("{host}/flat/x/index.json"), list);
    }
    let proxy = TestProxy::with(origin, |setup| {
        let feed = |name| FeedSettings::new(name, &format!("https://{name}.test/index.json"));
        setup.proxy.feeds = names.map(feed).into();
    })
    .await;
    proxy.origin.down("b.test");
    for (name, status) in names.into_iter().zip([200, 503, 200]) {
        let path = format!("/{name}/v3/flatcontainer/x/index.json");
        let answer = proxy.get(&path).await;
        assert_eq!(answer.status, status, "{name}");
        let says = answer.text().contains(&format!("1.0.0-{name}"));
        assert_eq!(says, status == 200, "{name}");
    }
}
