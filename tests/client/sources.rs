//! Feeds of other shapes and several at once: two sources without mapping, a private feed whose
//! credentials only Sluice knows.

use crate::direct::{Side, assert_same};
use crate::harness::shared;
use crate::harness::sluice;
use crate::harness::upstream::{self, Upstream};
use crate::machine::Machine;
use crate::stage::{clean_restore, say};
use crate::suite::{Turn, turn, turn_alone};
use std::path::PathBuf;

#[test]
fn two_sources_survive_either_one_down() {
    let Some(turn) = turn_alone("two_sources_survive_either_one_down") else {
        return;
    };
    let start = |packages: PathBuf| {
        let more = upstream::Settings::default();
        let settings = upstream::Settings {
            packages: vec![packages],
            signed_only: true,
            ..more
        };
        Upstream::start(settings, &turn.folder)
    };
    let (left, right) = halves(&turn);
    let mut upstreams = [start(left), start(right)];
    let machine = Machine::new(&turn.folder.join("machine"), &turn.sdk);
    let solution = machine.solution();
    let feed = |name: &str, upstream: &Upstream| {
        format!(
            "[[feed]]\nname = \"{name}\"\nupstream = \"{}\"\n",
            upstream.source()
        ) + "absence_fresh = \"1s\"\nservice_index_fresh = \"1s\"\nversion_list_fresh = \"1s\"\n"
    };
    let config = feed("left", &upstreams[0]) + &feed("right", &upstreams[1]);
    let sluice = sluice::Settings::new(&turn.folder, &machine.home())
        .config(&config)
        .start();
    let sources = ["left", "right"].map(|name| {
        let url = sluice.source_of(name);
        format!("<add key=\"{name}\" value=\"{url}\" allowInsecureConnections=\"true\" />")
    });
    let text = format!(
        "<configuration><packageSources><clear />{}</packageSources></configuration>",
        sources.concat()
    );
    std::fs::write(machine.config(), text).expect("it can be written");

    let restore = |what: &str| {
        let run = clean_restore(&sluice, &machine, &solution);
        say(&format!("{what}: {:?}", run.outcome.elapsed));
        run
    };
    restore("both up, cold");
    let healthy = restore("both up, warm");
    for number in [0, 1] {
        upstreams[0].assert_no_leak();
        upstreams[1].assert_no_leak();
        upstreams[number].stop();
        restore(["left down", "right down"][number]).assert_as_fast_as(&healthy);
        upstreams[number].start_again();
    }
}

/// The packages in two folders, ids of an even length left and the others right.
pub(crate) fn halves(turn: &Turn) -> (PathBuf, PathBuf) {
    let folders = (turn.folder.join("left"), turn.folder.join("right"));
    std::fs::create_dir_all(&folders.0).expect("a folder can be made");
    std::fs::create_dir_all(&folders.1).expect("a folder can be made");
    let packages = std::fs::read_dir(shared().join("feed/packages")).expect("it can be read");
    for package in packages.flatten() {
        let name = package.file_name().to_string_lossy().into_owned();
        // The version begins with the first digit that follows a dot; ids with such a part
        // ("system.4x") are split wrongly, but all their versions in the same way.
        let bytes = name.as_bytes();
        let id = bytes
            .windows(2)
            .position(|two| two[0] == b'.' && two[1].is_ascii_digit());
        let id = id.expect("a package has a version");
        let folder = if id.is_multiple_of(2) {
            &folders.0
        } else {
            &folders.1
        };
        std::os::unix::fs::symlink(package.path(), folder.join(&name)).expect("a link can be made");
    }
    folders
}

#[test]
fn a_private_feed_needs_no_credentials_at_the_client() {
    let Some(turn) = turn("a_private_feed_needs_no_credentials_at_the_client") else {
        return;
    };
    let upstream = Upstream::start(upstream::Settings::default(), &turn.folder);
    let scenario = |side: &mut Side| {
        let references = [
            ("Serilog.Sinks.Console", "5.0.0"),
            ("Newtonsoft.Json", "13.0.3"),
        ];
        let folder = side.restored("private", &references);
        side.note_file(&folder.join("obj/project.assets.json"));
        side.note_file(
            &side
                .machine
                .packages()
                .join("serilog/3.1.1/serilog.3.1.1.nupkg.sha512"),
        );
    };

    let machine = Machine::new(&turn.folder.join("direct"), &turn.sdk);
    let source = upstream.private_source();
    let text = format!(
        r#"<configuration><packageSources><clear />
<add key="nuget.org" value="{source}" protocolVersion="3" allowInsecureConnections="true" />
</packageSources><packageSourceCredentials><nuget.org>
<add key="Username" value="feed-user" /><add key="ClearTextPassword" value="feed-secret" />
</nuget.org></packageSourceCredentials></configuration>"#
    );
    std::fs::write(machine.config(), text).expect("it can be written");
    let mut direct = Side::new(machine, source.clone());
    scenario(&mut direct);
    upstream.reset();

    let machine = Machine::new(&turn.folder.join("machine"), &turn.sdk);
    let sluice = sluice::Settings::new(&turn.folder, &machine.home())
        .upstream(&source)
        .variable("SLUICE_FEED_NUGET_USERNAME", "feed-user")
        .variable("SLUICE_FEED_NUGET_PASSWORD", "feed-secret")
        .start();
    machine
        .shell(&machine.work(), &sluice.update_command())
        .succeeded();
    let mut through = Side::new(machine, sluice.source());
    scenario(&mut through);
    upstream.assert_no_leak();
    assert_same(&direct, &through);
    let log = std::fs::read_to_string(turn.folder.join("access.log")).expect("it is there");
    for (what, text) in [("stderr", sluice.process.errors()), ("the access log", log)] {
        assert!(
            !text.contains("feed-secret"),
            "the password stands in {what}"
        );
        assert!(!text.contains("sig="), "a signature stands in {what}");
    }
}
