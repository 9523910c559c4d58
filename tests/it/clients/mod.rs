//! The request sequences of many clients, each replayed at feeds of every shape: what a client asks first, which types
//! and which links it goes by, its headers. The sequences are those of recorded requests and of the clients' own code.
//!
//! Whatever the shape, a client finds what it looks for, is sent to nobody else, costs the upstream each document once,
//! is answered by an instance that knows nothing, and still finds all of it when the upstream is gone.

mod dependabot;
mod nuget_exe;
mod nuget_protocol;
mod paket;
mod renovate;
mod rider;
mod visitor;
mod visual_studio;

use std::collections::BTreeMap;

use self::visitor::{Client, Visitor};
use crate::harness::{pass, seconds};
use crate::servers::Server;
use crate::shapes;

/// What has to hold for a client at a server.
async fn check(client: Client, server: Server) {
    let name = format!("{client:?} at {server:?}");
    let proxy = shapes::proxy(server).await;
    let cold = Visitor::new(&proxy, client, &name, "cold");
    client.visit(&cold).await;
    let mut asked = BTreeMap::<String, usize>::new();
    for seen in proxy.origin.all() {
        *asked
            .entry(format!("{} {}{}", seen.method, seen.host, seen.target))
            .or_default() += 1;
    }
    // A link to storage is signed anew for each file, and what has been stored once is not fetched again.
    let twice: Vec<_> = asked.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{name}: {twice:#?}");

    let again = Visitor::new(&proxy, client, &name, "again");
    client.visit(&again).await;
    assert_eq!(
        proxy.origin.total(),
        asked.values().sum::<usize>(),
        "{name}: asked again"
    );
    assert_eq!(again.steps(), cold.steps(), "{name}");

    // Last things first: nothing may depend on what was asked before.
    let other = proxy.second().await;
    for (path, status) in cold.steps().iter().rev() {
        let answer = other.get(path).await;
        assert_eq!(
            answer.status, *status,
            "{name}: {path}: {:?}",
            answer.reason
        );
    }

    proxy.origin.all_down();
    // Every window is over.
    pass(seconds(2 * 60 * 60)).await;
    let gone = Visitor::new(&proxy, client, &name, "gone");
    client.visit(&gone).await;
    assert_eq!(gone.steps().len(), cold.steps().len(), "{name}");
    for ((path, status), (same, before)) in gone.steps().iter().zip(cold.steps()) {
        assert_eq!(*path, same, "{name}");
        // That a file is absent is not remembered for an outage.
        let is_unknown = before == 404 && *status >= 500;
        assert!(
            *status == before || is_unknown,
            "{name}: {path}: {status} when the upstream is gone"
        );
    }
}

async fn check_everywhere(client: Client) {
    for server in Server::ALL {
        Box::pin(check(client, server)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn dependabot_by_its_own_reader() {
    check_everywhere(Client::DependabotReader).await;
}

#[tokio::test(start_paused = true)]
async fn dependabot_by_the_library() {
    check_everywhere(Client::DependabotUpdater).await;
}

#[tokio::test(start_paused = true)]
async fn dotnet_3_1_restores() {
    check_everywhere(Client::Dotnet31).await;
}

#[tokio::test(start_paused = true)]
async fn nuget_exe_3_4_installs() {
    check_everywhere(Client::NugetExe34).await;
}

#[tokio::test(start_paused = true)]
async fn paket_installs() {
    check_everywhere(Client::Paket).await;
}

#[tokio::test(start_paused = true)]
async fn renovate_looks_for_releases() {
    check_everywhere(Client::Renovate).await;
}

#[tokio::test(start_paused = true)]
async fn rider_searches_and_installs() {
    check_everywhere(Client::Rider).await;
}

#[tokio::test(start_paused = true)]
async fn visual_studio_browses_updates_and_installs() {
    check_everywhere(Client::VisualStudio).await;
}
