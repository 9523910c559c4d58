//! What a running Sluice holds: memory, descriptors, threads, tasks, temporary files, room on the disk; over time, and at
//! rest.

use super::folder::names_in;
use super::measure::median;
use super::sluice::Sluice;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long what nobody needs any more may be held.
const REST_LIMIT: Duration = Duration::from_secs(45);

/// What is held at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals {
    /// Anonymous memory, in KiB.
    pub(crate) anonymous: u64,
    /// All memory in RAM, in KiB.
    pub(crate) resident: u64,
    /// Descriptors beyond those of stored bodies, of which the store keeps a known number open.
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    pub(crate) tasks: u64,
    /// Files in `tmp` beyond bodies that broke off and are kept for their rest.
    pub(crate) temporary: u64,
    /// Bytes that the store holds on the disk in any form.
    pub(crate) held: u64,
    /// What it may hold.
    pub(crate) cap: u64,
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} MiB anonymous, {:.1} MiB in RAM, {} descriptors, {} threads, {} tasks, {} temporary files, {:.1} MiB \
             stored",
            mebibytes(self.anonymous << 10),
            mebibytes(self.resident << 10),
            self.descriptors,
            self.threads,
            self.tasks,
            self.temporary,
            mebibytes(self.held)
        )
    }
}

impl Vitals {
    /// Looks.
    ///
    /// # Panics
    /// If Sluice is gone.
    pub(crate) fn of(sluice: &Sluice, data: &Path) -> Self {
        let metrics = sluice.metrics().expect("the admin listener answers");
        let value = |name: &str| {
            let found = metrics.get(name).copied();
            found.unwrap_or_else(|| panic!("there is no metric {name}"))
        };
        let descriptors = names_in(Path::new(&format!("/proc/{}/fd", sluice.process.id()))).len();
        let temporary = names_in(&data.join("tmp")).len();
        let held = [
            "sluice_store_body_bytes",
            "sluice_store_reserved_bytes",
            "sluice_store_lingering_bytes",
            "sluice_store_index_bytes",
        ];
        let beyond = |count: usize, known: &str| (count as u64).saturating_sub(value(known));
        Self {
            anonymous: sluice.process.status("RssAnon"),
            resident: sluice.process.status("VmRSS"),
            descriptors: beyond(descriptors, "sluice_store_open_bodies"),
            threads: sluice.process.status("Threads"),
            tasks: value("sluice_tasks"),
            temporary: beyond(temporary, "sluice_store_partials"),
            held: held.into_iter().map(value).sum(),
            cap: value("sluice_store_max_bytes"),
        }
    }
}

/// How much more the end may show than the middle: a share, and a number for what comes and goes.
#[derive(Clone, Copy)]
struct Margin {
    percent: u64,
    more: u64,
}

/// One value, and its margins in runs of both lengths.
struct Measure {
    name: &'static str,
    read: fn(&Vitals) -> u64,
    long: Margin,
    short: Margin,
}

/// The share that all but memory of short runs is allowed, and this number.
const fn more_than(more: u64) -> Margin {
    Margin { percent: 15, more }
}

/// The allocator keeps some freed memory for each thread, and in two minutes the threads for blocking calls are still
/// becoming more: a short run shows only a leak that is gross.
const WARMING: Margin = Margin {
    percent: 50,
    more: 32 << 10,
};

/// A leak passes every bound in time. These are above what two quarters of a run without one differ by: flights under
/// way, bodies being read, pages that the allocator has not given back.
const MEASURES: [Measure; 5] = [
    Measure {
        name: "KiB of anonymous memory",
        read: |vitals| vitals.anonymous,
        long: more_than(8 << 10),
        short: WARMING,
    },
    Measure {
        name: "KiB in RAM",
        read: |vitals| vitals.resident,
        long: more_than(8 << 10),
        short: WARMING,
    },
    Measure {
        name: "descriptors",
        read: |vitals| vitals.descriptors,
        long: more_than(16),
        short: more_than(16),
    },
    Measure {
        name: "tasks",
        read: |vitals| vitals.tasks,
        long: more_than(16),
        short: more_than(16),
    },
    Measure {
        name: "temporary files",
        read: |vitals| vitals.temporary,
        long: more_than(8),
        short: more_than(8),
    },
];

/// How long a run is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Length {
    /// Many times what it takes until as much is freed as is taken.
    Long,
    Short,
}

/// The last quarter of some samples beside the second.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    /// What each value was and is.
    pub(crate) lines: Vec<String>,
    /// What has grown.
    pub(crate) grown: Vec<String>,
}

/// Compares the last quarter of some samples with the second, by their medians.
pub(crate) fn growth(samples: &[Vitals], length: Length) -> Growth {
    let quarter = samples.len() / 4;
    let (second, last) = (
        &samples[quarter..2 * quarter],
        &samples[samples.len() - quarter..],
    );
    let mut growth = Growth::default();
    for measure in MEASURES {
        let middle = |samples: &[Vitals]| {
            let values: Vec<f64> = samples
                .iter()
                .map(|one| (measure.read)(one) as f64)
                .collect();
            median(&values)
        };
        let (before, after) = (middle(second), middle(last));
        let margin = match length {
            Length::Long => measure.long,
            Length::Short => measure.short,
        };
        let limit = before * (1.0 + margin.percent as f64 / 100.0) + margin.more as f64;
        growth.lines.push(format!(
            "{}: {before:.0} in the second quarter, {after:.0} in the last (at most {limit:.0})",
            measure.name
        ));
        if after > limit {
            let said = format!("{} grew: {before:.0} → {after:.0}", measure.name);
            growth.grown.push(said);
        }
    }
    growth
}

/// Waits, without any client, until it holds no more descriptors, tasks and temporary files than at `base`; says what is
/// left if that does not come.
pub(crate) fn comes_to_rest(sluice: &Sluice, data: &Path, base: Vitals) -> Result<Vitals, String> {
    let until = Instant::now() + REST_LIMIT;
    loop {
        let now = Vitals::of(sluice, data);
        if now.descriptors <= base.descriptors
            && now.tasks <= base.tasks
            && now.temporary <= base.temporary
        {
            return Ok(now);
        }
        if Instant::now() > until {
            return Err(format!(
                "after {REST_LIMIT:?} without a client it holds {now}; at the start it was {base}"
            ));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
