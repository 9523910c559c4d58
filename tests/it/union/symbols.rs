//! Symbols: from the first member with a symbol server that has them, and an owned name asked of its owner alone.

use super::*;
use crate::harness::Ask;

const SHARED: &str = "shared.pdb/fbd5ffffffff/shared.pdb";
const OWNED: &str = "contoso.core.pdb/fbd5ffffffff/contoso.core.pdb";

/// Both members with a symbol server; the company owns `Contoso.*`.
async fn symbols(change: impl FnOnce(&mut Setup)) -> TestProxy {
    let origin = upstreams();
    for (host, path) in [
        ("company.symbols.test", OWNED),
        ("nuget.symbols.test", SHARED),
    ] {
        origin.on(
            &format!("{host}/{path}"),
            Reply::file(host.as_bytes().to_vec()),
        );
    }
    union_with(origin, |setup| {
        rules(setup, "company").owns = patterns(&["Contoso.*"]);
        for feed in &mut setup.proxy.feeds {
            feed.symbols_upstream = Some(format!("https://{}.symbols.test/", feed.name));
        }
        change(setup);
    })
    .await
}

fn count(proxy: &TestProxy, host: &str) -> usize {
    let all = proxy.origin.all();
    all.iter().filter(|seen| seen.host == host).count()
}

#[tokio::test(start_paused = true)]
async fn the_first_member_that_has_them_delivers_symbols() {
    let proxy = symbols(|_| {}).await;
    for detail in ["miss", "hit"] {
        let found = proxy.get(&format!("/v3/symbols/{SHARED}")).await;
        let found = found.expect(detail);
        assert_eq!(found.body, &b"nuget.symbols.test"[..]);
    }
    assert_eq!(count(&proxy, "nuget.symbols.test"), 1);
    let path = "/all/v3/symbols/other.pdb/00/other.pdb";
    proxy.get(path).await.expect_status(404, "absent");
    let strange = Ask::get(path)
        .header("SymbolChecksum", "a")
        .header("SymbolChecksum", "b");
    assert_eq!(proxy.send(strange).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn an_owned_name_is_asked_of_its_owner_alone() {
    let proxy = symbols(|_| {}).await;
    let found = proxy.get(&format!("/v3/symbols/{OWNED}")).await;
    assert_eq!(found.expect("miss").body, &b"company.symbols.test"[..]);
    let other = "/v3/symbols/Contoso.Other.pdb/00/Contoso.Other.pdb";
    proxy.get(other).await.expect_status(404, "absent");
    assert_eq!(count(&proxy, "nuget.symbols.test"), 0);
    // Their owner away, they are not said to be absent.
    proxy.origin.down("company.symbols.test");
    let later = "/v3/symbols/Contoso.Later.pdb/00/Contoso.Later.pdb";
    let answer = proxy.get(later).await;
    assert!((502..=504).contains(&answer.status), "{}", answer.status);
    let reason = answer.reason.expect("a reason");
    assert!(reason.starts_with("Sluice: member company: "), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_union_of_feeds_without_symbol_servers_says_so() {
    let proxy = union().await;
    let answer = proxy.get(&format!("/v3/symbols/{SHARED}")).await;
    let answer = answer.expect_status(404, "failed.not-offered");
    assert!(answer.text().contains("no symbols"), "{}", answer.text());
    assert_eq!(proxy.origin.total(), 0);
}
