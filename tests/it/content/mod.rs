//! Files of the flat container: streamed while they are fetched once, checked, kept, or passed by a store that fails.

mod bypass;
mod coalesce;
mod kept;
mod range;
mod resume;
mod stream;
mod verdict;

use std::time::Duration;

use crate::harness::fixture::{FLAT, MODIFIED, content_path, nuget_like, package};
use crate::harness::{Gate, Origin, Reply, TestProxy};

/// The package of these tests; the fixture knows none of this name.
const ID: &str = "Sample.Big";
const PATH: &str = "/v3/flatcontainer/sample.big/1.0.0/sample.big.1.0.0.nupkg";
const NAME: &str = "GET api.test/v3-flatcontainer/sample.big/1.0.0/sample.big.1.0.0.nupkg";
/// What no reader gets before the verdict (design, invariant 2).
const HOLD_BACK: usize = 16 * 1024;

/// The package, of at least `bytes` bytes.
fn big(bytes: usize) -> Vec<u8> {
    package(ID, "1.0.0", bytes)
}

fn place() -> String {
    format!("{FLAT}/{}", content_path(ID, "1.0.0"))
}

/// A file with the validators and the digest that nuget.org sends.
fn file(bytes: &[u8]) -> Reply {
    let etag = format!("\"0x{:08X}\"", crc32c::crc32c(bytes));
    Reply::file(bytes.to_vec())
        .header("ETag", &etag)
        .header("Last-Modified", MODIFIED)
        .md5()
}

/// An upstream that answers for the package so.
fn origin(reply: Reply) -> Origin {
    let origin = nuget_like();
    origin.on(&place(), reply);
    origin
}

/// A proxy whose upstream answers for the package so.
async fn proxy(reply: Reply) -> TestProxy {
    TestProxy::with(origin(reply), |_| {}).await
}

/// A gate within the file, and the file.
fn gated(bytes: &[u8], at: usize) -> (Gate, Reply) {
    let gate = Gate::new();
    let reply = file(bytes).body_gate(at, &gate);
    (gate, reply)
}

/// Whether something is still not there after some seconds.
async fn is_pending<T>(what: impl Future<Output = T>) -> bool {
    tokio::time::timeout(Duration::from_secs(3), what)
        .await
        .is_err()
}
