//! Push, symbols, duplicates, wrong keys, refusals, delete: passed through as if Sluice were not there.

use crate::direct::{Side, assert_equal_to_direct};
use crate::stage::Stage;
use crate::suite::turn;
use std::io::Write;
use std::path::{Path, PathBuf};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

const KEY: &str = "push-key";

#[test]
fn a_pushed_package_is_there_at_once() {
    let Some(turn) = turn("a_pushed_package_is_there_at_once") else {
        return;
    };
    assert_equal_to_direct(&turn, |side| {
        let folder = side.machine.project("user", &[]);
        let id = "Sluice.Pushed.New";
        // The answer that it is not there is now remembered.
        side.dotnet(&folder, &["add", "package", id]).failed();
        let package = pack(&side.machine.work(), id, "1.0.0", 1000);
        push(side, &package, &[]).succeeded();
        side.machine.forget();
        side.dotnet(&folder, &["add", "package", id]).succeeded();
        // So is the list of one version, when the second comes.
        let package = pack(&side.machine.work(), id, "1.1.0", 1000);
        push(side, &package, &[]).succeeded();
        side.machine.forget();
        side.dotnet(&folder, &["add", "package", id]).succeeded();
        side.note_file(&folder.join("user.csproj"));
    });
}

#[test]
fn delete() {
    let Some(turn) = turn("delete") else { return };
    assert_equal_to_direct(&turn, |side| {
        let folder = side.machine.work();
        let search = ["package", "search", "serilog", "--format", "json"];
        side.dotnet(&folder, &search).succeeded();
        let delete = |side: &mut Side, version: &str, key: &str| {
            let words = [
                "nuget",
                "delete",
                "Serilog",
                version,
                "--source",
                "nuget.org",
            ];
            side.dotnet(
                &folder,
                &[&words[..], &["-k", key, "--non-interactive"]].concat(),
            )
        };
        delete(side, "3.1.1", "another-key").failed();
        delete(side, "3.1.1", KEY).succeeded();
        delete(side, "99.0.0", KEY).failed();
        side.dotnet(&folder, &search).succeeded();
    });
}

#[test]
fn duplicates() {
    let Some(turn) = turn("duplicates") else {
        return;
    };
    assert_equal_to_direct(&turn, |side| {
        let package = pack(&side.machine.work(), "Sluice.Pushed.Twice", "1.0.0", 1000);
        push(side, &package, &[]).succeeded();
        let refused = push(side, &package, &[]).failed();
        assert!(refused.text.contains("409"), "{}", refused.text);
        push(side, &package, &["--skip-duplicate"]).succeeded();
    });
}

#[test]
fn push_with_symbols() {
    let Some(turn) = turn("push_with_symbols") else {
        return;
    };
    let stage = assert_equal_to_direct(&turn, |side| {
        let package = pack(
            &side.machine.work(),
            "Sluice.Pushed.Symbols",
            "1.0.0",
            3 << 20,
        );
        let symbols = package.with_extension("snupkg");
        std::fs::copy(&package, &symbols).expect("it can be copied");
        push(side, &package, &["--symbol-api-key", KEY]).succeeded();
    });
    let package = stage
        .machine
        .work()
        .join("Sluice.Pushed.Symbols.1.0.0.nupkg");
    let bytes = std::fs::metadata(package).expect("it was made").len();
    let expected = serde_json::json!({
        "sluice.pushed.symbols/1.0.0": bytes,
        "sluice.pushed.symbols/1.0.0/symbols": bytes,
    });
    assert_eq!(stage.upstream.pushed(), expected);
}

#[test]
fn wrong_and_missing_keys() {
    let Some(turn) = turn("wrong_and_missing_keys") else {
        return;
    };
    let stage = assert_equal_to_direct(&turn, |side| {
        let folder = side.machine.work();
        let package = pack(&folder, "Sluice.Pushed.Never", "1.0.0", 1000);
        let path = package.display().to_string();
        let words = ["nuget", "push", &path, "--source", "nuget.org"];
        side.dotnet(&folder, &[&words[..], &["-k", "another-key"]].concat())
            .failed();
        side.dotnet(&folder, &words).failed();
    });
    assert_eq!(stage.upstream.pushed(), serde_json::json!({}));
}

/// Not compared: straight against the upstream the client shows a broken connection, because it
/// reads no answer before it has sent everything. Through Sluice it shows the upstream's reason.
#[test]
fn an_early_refusal_of_a_large_push_shows_its_reason() {
    let Some(turn) = turn("an_early_refusal_of_a_large_push_shows_its_reason") else {
        return;
    };
    let stage = Stage::empty(&turn);
    stage.upstream.faults(&[("^PUT ", "early 413")]);
    let mut side = Side::new(stage.machine.clone(), stage.sluice.source());
    let package = pack(
        &side.machine.work(),
        "Sluice.Pushed.Large",
        "1.0.0",
        100 << 20,
    );
    let refused = push(&mut side, &package, &[]).failed();
    let reason = "413 (Refused before the body was read)";
    assert!(refused.text.contains(reason), "{}", refused.text);
    stage.asked();
}

/// Pushes with the right key and this run's machine.
fn push(side: &mut Side, package: &Path, more: &[&str]) -> crate::machine::Outcome {
    let path = package.display().to_string();
    let words = ["nuget", "push", &path, "--source", "nuget.org", "-k", KEY];
    let folder = side.machine.work();
    side.dotnet(&folder, &[&words[..], more].concat())
}

/// A package with `bytes` of content that does not shrink.
pub(crate) fn pack(folder: &Path, id: &str, version: &str, bytes: usize) -> PathBuf {
    let path = folder.join(format!("{id}.{version}.nupkg"));
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).expect("it can be made"));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let nuspec = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <package xmlns=\"http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd\"><metadata>\
         <id>{id}</id><version>{version}</version><authors>Sluice</authors>\
         <description>Pushed by a test.</description></metadata></package>"
    );
    // A multiplicative generator: content need not be random, only different from place to place.
    let mut state = 1_u32;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(bytes)
    .collect();
    let files = [
        (format!("{id}.nuspec"), nuspec.into_bytes()),
        ("content/filler".to_owned(), content),
    ];
    for (name, content) in files {
        zip.start_file(name, stored).expect("a zip takes files");
        zip.write_all(&content).expect("the disk takes it");
    }
    zip.finish().expect("the disk takes it");
    path
}
