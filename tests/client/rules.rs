//! Offline and block rules as the real client meets them: a restore needs no upstream, a blocked version is chosen by
//! nothing, and who asks for it all the same is told the rule.

use crate::harness::http::{Request, ask};
use crate::harness::sluice::Sluice;
use crate::harness::upstream;
use crate::stage::{Stage, Windows};
use crate::suite::turn;
use std::net::SocketAddr;
use std::path::Path;

/// A package with stable versions from 1.1.0 to 1.199.0, but for every tenth.
const MANY: &str = "Sluice.Sample.Many";

/// The address of the admin listener, as it is printed.
fn admin_of(sluice: &Sluice) -> SocketAddr {
    let lines = sluice.process.lines();
    let address = lines.iter().find_map(|line| {
        let (_, rest) = line.split_once("; admin http://")?;
        rest.trim().parse().ok()
    });
    address.expect("it is printed")
}

fn order(sluice: &Sluice, mode: &str) {
    let request = Request {
        body: mode.as_bytes(),
        headers: &[],
        method: "PUT",
        path: "/api/feeds/nuget/mode",
    };
    let reply = ask(admin_of(sluice), &request).expect("it answers");
    assert_eq!(reply.status, 200, "{}", reply.reason);
    let expected = if mode == "configured" { "online" } else { mode };
    assert_eq!(reply.json()["mode"], expected);
}

/// The version that a restore of a project chose.
fn chosen(project: &Path) -> String {
    let text = std::fs::read_to_string(project.join("obj/project.assets.json"));
    let assets: serde_json::Value =
        serde_json::from_str(&text.expect("it was restored")).expect("it is JSON");
    let libraries = assets["libraries"].as_object().expect("libraries");
    let name = libraries
        .keys()
        .find_map(|name| name.strip_prefix(&format!("{MANY}/")));
    name.expect("it was chosen").to_owned()
}

#[test]
fn offline_a_restore_works_and_chooses_what_is_stored() {
    let name = "offline_a_restore_works_and_chooses_what_is_stored";
    let Some(turn) = turn(name) else { return };
    let mut stage = Stage::filled(&turn, Windows::Passed);
    let exact = stage.machine.project("exact", &[(MANY, "[1.42.0]")]);
    stage.machine.dotnet(&exact, &["restore"]).succeeded();
    order(&stage.sluice, "offline");
    stage.asked();
    stage.upstream.reset();
    let floating = stage.machine.project("floating", &[(MANY, "1.*")]);
    stage.machine.forget();
    stage.machine.dotnet(&floating, &["restore"]).succeeded();
    assert_eq!(chosen(&floating), "1.42.0");
    assert_eq!(stage.upstream.log().len(), 0, "{:?}", stage.upstream.log());
    stage.upstream.stop();
    stage.restore();
    let nobody = stage
        .machine
        .project("nobody", &[("Nobody.Has.This", "1.0.0")]);
    let failed = stage.machine.dotnet(&nobody, &["restore"]).failed();
    assert!(failed.text.contains("NU1101"), "{}", failed.text);
    stage.upstream.start_again();
    order(&stage.sluice, "configured");
    stage.machine.forget();
    stage.machine.dotnet(&floating, &["restore"]).succeeded();
    assert_eq!(chosen(&floating), "1.199.0");
}

#[test]
fn a_blocked_version_is_chosen_by_nothing_and_names_its_rule() {
    let name = "a_blocked_version_is_chosen_by_nothing_and_names_its_rule";
    let Some(turn) = turn(name) else { return };
    let rule = "Sluice.Sample.Many@[1.150,)";
    let more = upstream::Settings::default();
    let stage = Stage::build(&turn, more, |settings| {
        settings.variable("SLUICE_FEED_NUGET_BLOCK", &format!("{rule}, Evil.*"))
    });
    let machine = &stage.machine;
    let floating = machine.project("floating", &[(MANY, "1.*")]);
    machine.dotnet(&floating, &["restore"]).succeeded();
    assert_eq!(chosen(&floating), "1.149.0");
    // Even from a list that it has cached, the client looks for what it cannot get in a new one, and names that.
    let exact = machine.project("exact", &[(MANY, "[1.199.0]")]);
    let failed = machine.dotnet(&exact, &["restore"]).failed();
    let nearest = "NU1102: Unable to find package Sluice.Sample.Many with version (= 1.199.0)";
    assert!(failed.text.contains(nearest), "{}", failed.text);
    let path = "/v3/flatcontainer/sluice.sample.many/1.199.0/sluice.sample.many.1.199.0.nupkg";
    let reply = stage.sluice.get(path);
    let reason = format!("Sluice: sluice.sample.many 1.199.0 is blocked by the rule \"{rule}\"");
    assert_eq!((reply.status, reply.reason), (404, reason));
    stage.asked();
}
