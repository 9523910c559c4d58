//! Secrets that change: read again at a 401 and before they expire, once for all who ask.

use std::path::Path;

use tokio::time::Instant;

use super::*;
use crate::upstream::auth::{CommandLine, Secret};

fn open(bench: &Bench, secret: Secret) -> Access {
    let home = Origin::of(HOME).unwrap();
    let credential = Credential::Bearer(secret);
    let (clock, tasks) = (&bench.clock, &bench.tasks);
    let ways = WaySettings::default();
    Access::open("corp", home, Some(&credential), ways, clock, tasks).unwrap()
}

fn of_file(bench: &mut Bench, path: &Path, value: &str) {
    std::fs::write(path, value).unwrap();
    let secret = Secret::File {
        path: path.into(),
        value: value.into(),
    };
    bench.access = open(bench, secret);
}

fn refused() -> Reply {
    Reply::Keep(answer("401 Who", "", ""))
}

fn sent(site: &Site) -> Vec<String> {
    let requests = site.requests();
    let header = |head: &String| {
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix("authorization: "));
        line.unwrap_or_default().to_owned()
    };
    requests.iter().map(header).collect()
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_again_once_when_its_secret_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    // While it is read the refused request holds no turn.
    let settings = Settings {
        max_connections: 1,
        ..Settings::default()
    };
    let mut bench = Bench::with(HOME, settings);
    of_file(&mut bench, &path, "old");
    let site = bench.site(HOME);
    site.set([Reply::Keep(ok("x"))]);
    bench.get(HOME).await;
    std::fs::write(&path, "new\n").unwrap();
    // What is not refused is not read again.
    bench.get(HOME).await;
    site.set([refused(), Reply::Keep(ok("x"))]);
    assert_eq!(bench.get(HOME).await, (200, "x".into()));
    bench.get(HOME).await;
    let expected = ["old", "old", "old", "new", "new"].map(|token| format!("Bearer {token}"));
    assert_eq!(sent(&site), expected);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_the_same_is_not_sent_twice_nor_read_for_each_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let mut bench = Bench::new();
    of_file(&mut bench, &path, "old");
    let site = bench.site(HOME);
    site.set([refused()]);
    assert_eq!(bench.get(HOME).await.0, 401);
    assert_eq!(site.asked(), 1);
    // The reading stands for ten seconds.
    std::fs::write(&path, "new").unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!((bench.get(HOME).await.0, site.asked()), (401, 2));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((bench.get(HOME).await.0, site.asked()), (401, 4));
    assert_eq!(sent(&site)[3], "Bearer new");
    // A refusal is an answer: the origin lives.
    assert_eq!(bench.home_state(), OriginState::Live);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_is_told_and_its_old_secret_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let mut bench = Bench::new();
    of_file(&mut bench, &path, "old");
    std::fs::remove_file(&path).unwrap();
    let began = bench.clock.now();
    let site = bench.site(HOME);
    site.set([refused(), Reply::Keep(ok("x"))]);
    assert_eq!(bench.get(HOME).await.0, 401);
    let (since, fault) = bench.access.credential_fault().unwrap();
    assert_eq!(
        (since, &*fault),
        (began, "its file cannot be read: entity not found")
    );
    assert_eq!(bench.get(HOME).await.0, 200);
    assert_eq!(sent(&site), ["Bearer old", "Bearer old"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_upload_has_the_secret_read_again_for_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let mut bench = Bench::new();
    of_file(&mut bench, &path, "old");
    std::fs::write(&path, "new").unwrap();
    let site = bench.site(HOME);
    site.set([Reply::Close(answer("401 Who", "", ""))]);
    for status in [401, 401] {
        let request = PublishRequest {
            access: bench.access.clone(),
            body: http_body_util::Empty::<bytes::Bytes>::new(),
            headers: http::HeaderMap::new(),
            length: None,
            method: http::Method::DELETE,
            url: HOME.into(),
            via: Vec::new(),
        };
        assert_eq!(
            bench.upstream.publish(request).await.unwrap().status,
            status
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(sent(&site), ["Bearer old", "Bearer new"]);
}

/// A command that counts its runs in a file and prints `t<run>`.
#[cfg(unix)]
fn counting(path: &Path, rest: &str) -> Secret {
    let path = path.display();
    let line = format!("n=$(cat {path}); n=$((n + 1)); echo $n > {path}; echo t$n; {rest}");
    Secret::Command(CommandLine::Shell(line))
}

#[cfg(unix)]
fn runs(path: &Path) -> usize {
    std::fs::read_to_string(path)
        .unwrap()
        .trim()
        .parse()
        .unwrap_or_default()
}

#[cfg(unix)]
#[tokio::test]
async fn many_refusals_at_once_cause_one_run_of_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs");
    std::fs::write(&path, "0").unwrap();
    let mut bench = Bench::new();
    bench.access = open(&bench, counting(&path, ""));
    let site = bench.site(HOME);
    site.set([Reply::Keep(ok("x"))]);
    // It has not run yet: who comes first waits for it.
    assert_eq!(bench.get(HOME).await.0, 200);
    assert_eq!(
        (sent(&site), runs(&path)),
        (vec!["Bearer t1".to_owned()], 1)
    );
    let mut replies = vec![refused(); 40];
    replies.push(Reply::Keep(ok("x")));
    site.set(replies);
    let reads: Vec<_> = (0..40).map(|_| bench.start(HOME)).collect();
    for read in reads {
        assert_eq!(read.await.unwrap().unwrap().status, 200);
    }
    assert_eq!((site.asked(), runs(&path)), (81, 2));
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_runs_again_before_its_secret_expires_though_nobody_asks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs");
    std::fs::write(&path, "0").unwrap();
    let bench = Bench::new();
    // The bench's clock began at a whole second, so the time is its own.
    let at = bench.clock.now() + Duration::from_secs(2);
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let access = open(&bench, counting(&path, &format!("echo {at}")));
    let home = Origin::of(HOME).unwrap();
    assert!(access.present(&home, &home).await.unwrap().is_some());
    let before = Instant::now();
    while runs(&path) < 2 {
        assert!(
            before.elapsed() < Duration::from_secs(30),
            "it never ran again"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Never later than it expires, and at most a fifth of its life early.
    assert!(before.elapsed() >= Duration::from_millis(1_000));
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_that_fails_is_named_by_its_exit_status_and_blocks_what_needs_it() {
    let mut bench = Bench::new();
    let line = "echo s3cret; exit 7".to_owned();
    bench.access = open(&bench, Secret::Command(CommandLine::Shell(line)));
    let error = bench.fetch(HOME).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no credential for http://home.test: its command ended with exit status: 7"
    );
    assert_eq!(bench.site(HOME).asked(), 0);
    // It is not run for each request.
    let before = Instant::now();
    for _ in 0..50 {
        bench.fetch(HOME).await.unwrap_err();
    }
    assert!(before.elapsed() < Duration::from_secs(5));
    // What may not know it does not need it.
    bench.site("http://cdn.test").set([Reply::Keep(ok("x"))]);
    assert_eq!(bench.get("http://cdn.test").await.0, 200);
}
