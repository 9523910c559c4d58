//! Commands on a folder of their own.

use std::time::Duration;

use super::*;

/// 2026-11-10T12:00:00Z.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_794_312_000)
}

/// Runs `sluice token` with these words on a folder's tokens.
fn run_in(folder: &tempfile::TempDir, words: &[&str], now: SystemTime) -> Result<Said, String> {
    let settings = Settings {
        data_dir: folder.path().to_owned(),
        ..Settings::default()
    };
    let words = std::iter::once("token").chain(words.iter().copied());
    let matches = token()
        .try_get_matches_from(words)
        .map_err(|error| error.to_string())?;
    let scene = Scene {
        settings: &settings,
        feeds: &[("nuget", false), ("corp", true)],
        now,
    };
    run(&matches, &scene)
}

fn kept(folder: &tempfile::TempDir) -> Tokens {
    let text = std::fs::read_to_string(folder.path().join("tokens.json")).expect("it is there");
    Tokens::read(&text).expect("our own")
}

#[test]
fn a_token_is_shown_once_and_kept_as_its_hash() {
    let folder = tempfile::tempdir().expect("a folder");
    let words = [
        "create",
        "ci",
        "--push",
        "Contoso.*",
        "--push",
        "Log",
        "--feed",
        "corp",
    ];
    let said = run_in(
        &folder,
        &[&words[..], &["--expires", "90d"]].concat(),
        now(),
    );
    let said = said.expect("a free name");
    let secret = TokenSecret::read(said.out.trim()).expect("a token and nothing else");
    assert_eq!(
        said.note,
        "token ci may push contoso.*, push log (corp); it ends 2027-02-08T12:00:00Z; it is shown this once\n"
    );
    let tokens = kept(&folder);
    let token = tokens.of(&secret.digest()).expect("it is kept");
    assert!(!token.rights.read && !token.rights.admin && token.is_for("corp"));
    let listed = run_in(&folder, &["list"], now()).expect("a list").out;
    assert!(!listed.contains(secret.reveal()), "{listed}");
    assert!(
        listed.contains("ci    push contoso.*, push log  corp   "),
        "{listed}"
    );
}

#[test]
fn without_a_right_named_a_token_may_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let create = |words: &[&str]| run_in(&folder, &[&["create"], words].concat(), now());
    create(&["plain"]).expect("a free name");
    create(&["boss", "--admin"]).expect("a free name");
    create(&["all", "--read", "--admin", "--push", "*"]).expect("a free name");
    let tokens = kept(&folder);
    let rights = |name| {
        let rights = &tokens.named(name).expect("it is kept").rights;
        (rights.read, rights.admin, rights.push.len())
    };
    assert_eq!(rights("plain"), (true, false, 0));
    assert_eq!(rights("boss"), (false, true, 0));
    assert_eq!(rights("all"), (true, true, 1));
    let useless = create(&["useless", "--feed", "nuget"]).expect("a free name");
    assert!(
        useless
            .note
            .contains("no feed of this configuration asks for it"),
        "{}",
        useless.note
    );
}

#[test]
fn a_revoked_token_is_gone_and_its_name_free() {
    let folder = tempfile::tempdir().expect("a folder");
    run_in(&folder, &["create", "ci"], now()).expect("a free name");
    let taken = run_in(&folder, &["create", "ci"], now()).expect_err("taken");
    assert!(taken.contains("there is a token \"ci\" already"), "{taken}");
    run_in(&folder, &["revoke", "ci"], now()).expect("it is there");
    assert!(kept(&folder).all().is_empty());
    let gone = run_in(&folder, &["revoke", "ci"], now()).expect_err("gone");
    assert!(gone.contains("there is no token \"ci\""), "{gone}");
    run_in(&folder, &["create", "ci"], now()).expect("free again");
}

#[test]
fn a_list_says_what_is_over_and_when_each_was_used() {
    let folder = tempfile::tempdir().expect("a folder");
    run_in(&folder, &["create", "old", "--expires", "1h"], now()).expect("a free name");
    run_in(&folder, &["create", "used"], now()).expect("a free name");
    let uses = r#"{"uses":{"used":"2026-11-10T13:00:00Z","old":"2026-01-01T00:00:00Z"}}"#;
    std::fs::write(folder.path().join("token-uses.json"), uses).expect("a folder");
    let listed = run_in(&folder, &["list"], now() + Duration::from_secs(7200));
    let listed = listed.expect("a list").out;
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("NAME  MAY   FEEDS"), "{listed}");
    assert!(lines[1].contains("2026-11-10T13:00:00Z (over)"), "{listed}");
    assert!(lines[1].ends_with("never"), "{listed}");
    assert!(
        lines[2].ends_with("never                        2026-11-10T13:00:00Z"),
        "{listed}"
    );
}

#[test]
fn bad_input_names_the_flag_and_what_was_expected() {
    let folder = tempfile::tempdir().expect("a folder");
    for (words, expected) in [
        (&["create", "a b"][..], "a name of at most"),
        (
            &["create", "a", "--push", "x y"],
            "--push: expected a package id",
        ),
        (
            &["create", "a", "--feed", "crop"],
            "--feed: expected one of nuget, corp",
        ),
        (
            &["create", "a", "--expires", "soon"],
            "--expires: expected a duration",
        ),
        (
            &["create", "a", "--expires", "2020-01-01"],
            "--expires: expected a duration",
        ),
    ] {
        let problem = run_in(&folder, words, now()).expect_err("bad input");
        assert!(problem.contains(expected), "{problem}");
    }
    assert!(!folder.path().join("tokens.json").exists());
    std::fs::write(folder.path().join("tokens.json"), "{\"format\":9}").expect("a folder");
    let later = run_in(&folder, &["create", "a"], now()).expect_err("a later format");
    assert!(later.contains("tokens.json: format 9"), "{later}");
    let missing = tempfile::tempdir()
        .expect("a folder")
        .path()
        .join("missing");
    let missing = missing.to_str().expect("text");
    let settings = Settings {
        data_dir: missing.into(),
        ..Settings::default()
    };
    let matches = token()
        .try_get_matches_from(["token", "create", "a"])
        .expect("good words");
    let scene = Scene {
        settings: &settings,
        feeds: &[],
        now: now(),
    };
    let problem = run(&matches, &scene).expect_err("no folder");
    assert!(problem.contains(missing), "{problem}");
}

#[test]
fn a_password_becomes_a_line_that_users_are_read_from() {
    let said = hash("alice", &mut &b"s3cret\r\nmore\n"[..]).expect("a hash");
    let users = crate::access::users::Users::read(&said.out).expect("a line");
    assert!(
        users
            .hash_for("alice")
            .is_some_and(|hash| hash.fits("s3cret"))
    );
    assert!(!said.out.contains("s3cret"));
    assert!(hash("a:b", &mut &b"x\n"[..]).is_err());
    assert!(hash("alice", &mut &b"\n"[..]).is_err());
}
