//! A feed that passes clients' credentials on, with the real client: challenged, served, served in an outage, and refused
//! with a wrong password, before a restart of Sluice and after.

use crate::harness::sluice;
use crate::harness::upstream::{self, Upstream};
use crate::machine::Machine;
use crate::suite::turn;
use std::time::Duration;

#[test]
fn clients_bring_their_own_credentials() {
    let Some(turn) = turn("clients_bring_their_own_credentials") else {
        return;
    };
    let mut upstream = Upstream::start(upstream::Settings::default(), &turn.folder);
    let right = Machine::new(&turn.folder.join("right"), &turn.sdk);
    let wrong = Machine::new(&turn.folder.join("wrong"), &turn.sdk);
    // Proofs are soon too old for anything but an outage.
    let mut sluice = sluice::Settings::new(&turn.folder, &right.home())
        .upstream(&upstream.private_source())
        .variable("SLUICE_FEED_NUGET_ACCESS", "passthrough")
        .variable("SLUICE_FEED_NUGET_PROOF_TTL", "1s")
        .windows("1s")
        .start();
    let references = [
        ("Serilog.Sinks.Console", "5.0.0"),
        ("Newtonsoft.Json", "13.0.3"),
    ];
    let projects = [&right, &wrong].map(|machine| machine.project("private", &references));
    let restore = |machine: &Machine, source: &str, password: &str| {
        sign_in(machine, source, password);
        machine.forget();
        let project = if password == "feed-secret" {
            &projects[0]
        } else {
            &projects[1]
        };
        machine.dotnet(project, &["restore"])
    };

    restore(&right, &sluice.source(), "feed-secret").succeeded();
    let refused = restore(&wrong, &sluice.source(), "wrong-secret").failed();
    assert!(refused.text.contains("401"), "{}", refused.text);
    // Every byte is stored now, and is given to whom the upstream lets in.
    std::thread::sleep(Duration::from_millis(1500));
    restore(&right, &sluice.source(), "feed-secret").succeeded();
    restore(&wrong, &sluice.source(), "wrong-secret").failed();
    upstream.assert_no_leak();

    upstream.stop();
    std::thread::sleep(Duration::from_millis(1500));
    restore(&right, &sluice.source(), "feed-secret").succeeded();
    restore(&wrong, &sluice.source(), "wrong-secret").failed();
    sluice.restart();
    restore(&right, &sluice.source(), "feed-secret").succeeded();
    restore(&wrong, &sluice.source(), "wrong-secret").failed();

    let log = std::fs::read_to_string(turn.folder.join("access.log")).expect("it is there");
    assert!(
        log.contains("\"credential\":\""),
        "no hash in the access log"
    );
    assert!(log.contains("\"outcome\":\"challenged\""));
    for secret in ["feed-secret", "wrong-secret", "ZmVlZC11c2Vy"] {
        for (what, text) in [
            ("stderr", sluice.process.errors()),
            ("the log", log.clone()),
        ] {
            assert!(!text.contains(secret), "{secret} stands in {what}");
        }
    }
}

/// Has a machine use this source alone, with this password.
fn sign_in(machine: &Machine, source: &str, password: &str) {
    let text = format!(
        r#"<configuration><packageSources><clear />
<add key="nuget.org" value="{source}" protocolVersion="3" allowInsecureConnections="true" />
</packageSources><packageSourceCredentials><nuget.org>
<add key="Username" value="feed-user" /><add key="ClearTextPassword" value="{password}" />
</nuget.org></packageSourceCredentials></configuration>"#
    );
    std::fs::write(machine.config(), text).expect("it can be written");
}
