//! A feed with users and tokens of its own: credentials in nuget.config and in the environment, wrong ones, and a push
//! with a token for which Sluice holds the upstream's key.

use crate::harness::sluice;
use crate::harness::upstream::{self, Upstream};
use crate::machine::Machine;
use crate::publish::pack;
use crate::stage::say;
use crate::suite::turn;
use std::path::Path;
use std::process::{Command, Stdio};

const REFERENCES: [(&str, &str); 2] = [
    ("Serilog.Sinks.Console", "5.0.0"),
    ("Newtonsoft.Json", "13.0.3"),
];
const PASSWORD: &str = "pass word:1";

/// Runs the binary; gives what it prints.
pub(crate) fn command(words: &[&str], input: &str) -> String {
    use std::io::Write as _;
    let binary =
        std::env::var_os("SLUICE_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_sluice").into());
    let mut child = Command::new(binary)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// A nuget.config whose one source asks for this user and password, if any.
fn configure(machine: &Machine, source: &str, credential: Option<(&str, &str)>) {
    let credential = credential.map_or_else(String::new, |(user, password)| {
        format!(
            "<packageSourceCredentials><corp><add key=\"Username\" value=\"{user}\" />\
             <add key=\"ClearTextPassword\" value=\"{password}\" /></corp></packageSourceCredentials>"
        )
    });
    let text = format!(
        "<configuration><packageSources><clear /><add key=\"corp\" value=\"{source}\" protocolVersion=\"3\" \
         allowInsecureConnections=\"true\" /></packageSources>{credential}</configuration>"
    );
    std::fs::write(machine.config(), text).expect("it can be written");
}

fn lines_of(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("access.log")).expect("it is there")
}

#[test]
fn users_and_tokens_restore_and_push() {
    let Some(turn) = turn("users_and_tokens_restore_and_push") else {
        return;
    };
    let upstream = Upstream::start(upstream::Settings::default(), &turn.folder);
    let machine = Machine::new(&turn.folder.join("machine"), &turn.sdk);
    let users = turn.folder.join("users");
    let line = command(&["password", "alice"], &format!("{PASSWORD}\n"));
    std::fs::write(&users, line).expect("it can be written");
    let tokens = turn.folder.join("tokens.json").display().to_string();
    let create = |words: &[&str]| {
        let words = [&["token", "create"], words, &["--tokens-file", &tokens]].concat();
        command(&words, "").trim().to_owned()
    };
    let reader = create(&["reader"]);
    let pusher = create(&["pusher", "--read", "--push", "Sluice.Pushed.*"]);
    let config = format!(
        "users_file = {users:?}\ntokens_file = {tokens:?}\n[[feed]]\nname = \"corp\"\nupstream = \"{}\"\n\
         access = \"own\"\npush_key = \"push-key\"\n",
        upstream.source()
    );
    let sluice = sluice::Settings::new(&turn.folder, &machine.home())
        .config(&config)
        .start();
    let source = sluice.source_of("corp");
    let project = machine.project("app", &REFERENCES);
    let restore = |what: &str, line: &str| {
        machine.forget();
        let outcome = machine.shell(&project, line);
        say(&format!("{what}: {:?}", outcome.elapsed));
        outcome
    };

    configure(&machine, &source, Some(("alice", PASSWORD)));
    restore("credentials in nuget.config", "dotnet restore").succeeded();
    assert!(lines_of(&turn.folder).contains("\"user\":\"user alice\""));
    configure(&machine, &source, None);
    let variable = format!("NuGetPackageSourceCredentials_corp='Username=any;Password={reader}'");
    let line = format!("{variable} dotnet restore");
    restore("credentials in the environment", &line).succeeded();
    assert!(lines_of(&turn.folder).contains("\"user\":\"token reader\""));

    let none = restore("no credentials", "dotnet restore").failed();
    assert!(none.text.contains("401"), "{}", none.text);
    configure(&machine, &source, Some(("alice", "wrong")));
    let wrong = restore("a wrong password", "dotnet restore").failed();
    for said in ["NU1301", "401", "the user or the password is wrong"] {
        assert!(wrong.text.contains(said), "{said}: {}", wrong.text);
    }
    // The client's own six attempts take six seconds.
    assert!(wrong.elapsed.as_secs() < 30, "{:?}", wrong.elapsed);

    configure(&machine, &source, Some(("any", &pusher)));
    let push = |id: &str, key: &str| {
        let package = pack(&machine.work(), id, "1.0.0", 3 << 20);
        let path = package.display().to_string();
        let words = ["nuget", "push", &path, "--source", "corp", "-k", key];
        machine.dotnet(&machine.work(), &words)
    };
    push("Sluice.Pushed.Mine", &pusher).succeeded();
    let refused = push("Sluice.Other", &pusher).failed();
    let said = "token pusher may not push sluice.other";
    assert!(refused.text.contains(said), "{}", refused.text);
    let pushed = upstream.pushed();
    let names: Vec<&String> = pushed.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["sluice.pushed.mine/1.0.0"]);
    upstream.assert_no_leak();
    for (what, text) in [
        ("stderr", sluice.process.errors()),
        ("the access log", lines_of(&turn.folder)),
    ] {
        for secret in [PASSWORD, &reader, &pusher, "push-key"] {
            assert!(!text.contains(secret), "a secret stands in {what}");
        }
    }
}
