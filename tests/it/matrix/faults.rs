//! The faults of the matrix: what the upstream does with one URL, or with every connection to its host.

use std::io::Write as _;
use std::time::Duration;

use super::classes::Kind;
use super::editions::Edition;
use crate::harness::{Act, Door, Ending, Framing, Origin, Reply};

/// The day far before and far after the test's own.
const PAST: &str = "Sat, 01 Jan 2000 00:00:00 GMT";
const FUTURE: &str = "Fri, 01 Jan 2100 00:00:00 GMT";
/// Pieces in which a body drips, one a second: less than the least rate, whatever its size.
const DRIPS: usize = 60;

/// Where a fault is wanted.
pub(super) struct Scene<'a> {
    pub(super) origin: &'a Origin,
    pub(super) kind: &'static Kind,
    pub(super) host: &'a str,
}

impl Scene<'_> {
    pub(super) fn place(&self) -> String {
        format!("{}/{}", self.host, self.kind.at)
    }

    /// Other hosts that redirects lead to.
    pub(super) fn hosts(&self) -> [String; 3] {
        [
            self.host.to_owned(),
            format!("other-{}", self.host),
            format!("inside-{}", self.host),
        ]
    }

    fn on(&self, act: impl Into<Act>) {
        self.origin.on(&self.place(), act);
    }

    fn door(&self, door: Door) {
        self.origin.down(self.host);
        self.origin.door(self.host, door);
    }

    fn good(&self) -> Reply {
        self.kind.reply(self.host, Edition::New)
    }

    fn ending(&self, framing: Framing, ending: fn(usize) -> Ending) {
        let good = self.good();
        let half = good.bytes().len() / 2;
        self.on(good.framing(framing).ending(ending(half)));
    }

    fn bytes(&self, bytes: impl Into<Vec<u8>>) {
        self.on(self.kind.reply_of(bytes.into(), Edition::New));
    }

    fn status(&self, status: u16) {
        self.on(Reply::new(status, "the upstream's own words"));
    }
}

/// A fault.
pub(super) struct Fault {
    pub(super) name: &'static str,
    pub(super) begin: fn(&Scene<'_>),
    /// How long the upstream asks to be left alone, in seconds.
    pub(super) rest: u64,
}

const fn fault(name: &'static str, begin: fn(&Scene<'_>)) -> Fault {
    Fault {
        name,
        begin,
        rest: 0,
    }
}

/// Every fault, in the order of the table.
pub(super) const FAULTS: [Fault; 43] = [
    fault("connect-refused", |scene| scene.door(Door::Refuse)),
    fault("connect-hang", |scene| scene.door(Door::Hang)),
    fault("tls-failure", |scene| scene.door(Door::Tls)),
    fault("name-not-found", |scene| scene.door(Door::NoName)),
    fault("close-before-headers", |scene| scene.on(Act::Close)),
    fault("reset-before-headers", |scene| scene.on(Act::Reset)),
    fault("reset-in-body", |scene| {
        scene.ending(Framing::Length, Ending::Reset);
    }),
    fault("close-in-body", |scene| {
        scene.ending(Framing::Length, Ending::Cut);
    }),
    fault("close-in-chunked-body", |scene| {
        scene.ending(Framing::Chunked, Ending::Cut);
    }),
    fault("stall-before-headers", |scene| scene.on(Act::Hang)),
    fault("stall-in-body", |scene| {
        scene.ending(Framing::Length, Ending::Stall);
    }),
    fault("slow-drip", |scene| {
        let good = scene.good();
        let piece = good.bytes().len().div_ceil(DRIPS);
        scene.on(good.pace(piece, Duration::from_secs(1)));
    }),
    // Its length is told ten bytes longer than it is.
    fault("short-body", |scene| {
        let good = scene.good();
        let length = good.bytes().len();
        scene.on(good.told_length(length + 10).ending(Ending::Cut(length)));
    }),
    // Ten bytes more follow than its length tells.
    fault("long-body", |scene| {
        let good = scene.good();
        let length = good.bytes().len();
        scene.on(good.told_length(length).ending(Ending::Surplus(10)));
    }),
    // Its end is missing, and its length tells nothing of that.
    fault("cut-off-body", |scene| {
        let bytes = scene.good().bytes().to_vec();
        scene.bytes(&bytes[..bytes.len() - 10]);
    }),
    fault("bad-chunk", |scene| {
        scene.ending(Framing::Chunked, Ending::BadChunk);
    }),
    fault("bad-gzip", |scene| {
        let good = scene.good();
        let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        coder.write_all(good.bytes()).expect("memory");
        let mut coded = coder.finish().expect("memory");
        // A bit of the checksum.
        let at = coded.len() - 6;
        coded[at] ^= 1;
        let bad = scene.kind.reply_of(coded, Edition::New);
        scene.on(bad.header("Content-Encoding", "gzip"));
    }),
    fault("html", |scene| {
        let page = "<!DOCTYPE html><html><body>Sign in to the network.</body></html>";
        scene.on(Reply::new(200, page).header("Content-Type", "text/html"));
    }),
    fault("empty", |scene| scene.bytes("")),
    fault("204", |scene| scene.status(204)),
    fault("redirect-loop", |scene| {
        let url = format!("https://{}", scene.place());
        scene.on(Reply::redirect(302, &url));
    }),
    fault("redirect-to-other-host", |scene| {
        let [_, other, _] = scene.hosts();
        let place = format!("{other}/{}", scene.kind.at);
        scene.origin.on(&place, scene.good());
        scene.on(Reply::redirect(302, &format!("https://{place}")));
    }),
    fault("redirect-to-private", |scene| {
        let [.., inside] = scene.hosts();
        let place = format!("{inside}/{}", scene.kind.at);
        scene.origin.on(&place, scene.good());
        scene.origin.door(&inside, Door::Private);
        scene.on(Reply::redirect(302, &format!("https://{place}")));
    }),
    fault("401", |scene| {
        scene.on(Reply::new(401, "who are you?").header("WWW-Authenticate", "Basic realm=\"x\""));
    }),
    fault("403", |scene| scene.status(403)),
    fault("404", |scene| scene.status(404)),
    fault("408", |scene| scene.status(408)),
    fault("410", |scene| scene.status(410)),
    fault("429", |scene| scene.status(429)),
    fault("429-after-5s", |scene| {
        scene.on(Reply::new(429, "slowly").header("Retry-After", "5"));
    }),
    Fault {
        name: "429-after-1h",
        begin: |scene| {
            scene.on(Reply::new(429, "later").header("Retry-After", "3600"));
        },
        rest: 3600,
    },
    fault("500", |scene| scene.status(500)),
    fault("502", |scene| scene.status(502)),
    fault("503", |scene| scene.status(503)),
    fault("504", |scene| scene.status(504)),
    fault("garbage-json", |scene| scene.bytes("}{ \u{1} no JSON")),
    fault("other-json", |scene| scene.bytes("{\"weather\":\"fair\"}")),
    fault("other-package", |scene| {
        scene.on(scene.kind.reply(scene.host, Edition::Other));
    }),
    fault("broken-zip", |scene| {
        let mut bytes = scene.good().bytes().to_vec();
        // The signature of the end record.
        let end = bytes.len() - 22;
        bytes[end] ^= 1;
        scene.bytes(bytes);
    }),
    fault("wrong-md5", |scene| {
        scene.on(scene
            .good()
            .header("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="));
    }),
    fault("older", |scene| {
        scene.on(scene.kind.reply(scene.host, Edition::Older));
    }),
    fault("date-in-future", |scene| {
        scene.on(scene.good().header("Date", FUTURE));
    }),
    fault("date-in-past", |scene| {
        scene.on(scene.good().header("Date", PAST));
    }),
];

impl Fault {
    #[track_caller]
    pub(super) fn of(name: &str) -> &'static Self {
        let found = FAULTS.iter().find(|fault| fault.name == name);
        found.unwrap_or_else(|| panic!("no fault {name:?}"))
    }
}
