//! Counters, gauges and the histogram of request durations, in the Prometheus text format.
//!
//! Reference: Prometheus, "Exposition formats", text format 0.0.4. It refuses label values without bound: a family that
//! has reached its limit of series counts what it drops.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use super::Request;

/// Whether a value only rises.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// It only rises.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A metric's name and what it means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Family {
    /// The name, with its unit, and `_total` on a counter.
    pub name: &'static str,
    /// What it counts, one sentence.
    pub help: &'static str,
    /// Whether it only rises.
    pub kind: Kind,
}

/// Samples of one scrape.
#[derive(Debug, Default)]
pub struct Samples {
    families: BTreeMap<&'static str, Group>,
}

/// The samples of one family.
#[derive(Debug)]
struct Group {
    family: Family,
    /// Labels as they are written, and values.
    values: Vec<(String, u64)>,
}

impl Samples {
    /// Adds a sample.
    pub fn add(&mut self, family: &Family, labels: &[(&str, &str)], value: u64) {
        self.push(*family, write_labels(labels), value);
    }

    fn push(&mut self, family: Family, labels: String, value: u64) {
        self.families
            .entry(family.name)
            .or_insert_with(|| Group {
                family,
                values: Vec::new(),
            })
            .values
            .push((labels, value));
    }
}

/// Upper bounds of the duration histogram, in milliseconds: a memory hit lies in the first, the longest hold (15 s) in
/// the last but one.
const BUCKETS_MS: [u64; 12] = [
    1, 3, 10, 30, 100, 300, 1000, 2000, 5000, 10_000, 20_000, 60_000,
];

/// Series of one family: feeds times classes times outcomes times statuses stays far below, unless labels run away.
const MAX_SERIES: usize = 4096;

const REQUESTS: Family = Family {
    name: "sluice_requests_total",
    help: "Requests answered.",
    kind: Kind::Counter,
};
const RESPONSE_BYTES: Family = Family {
    name: "sluice_response_bytes_total",
    help: "Bytes of bodies sent to clients.",
    kind: Kind::Counter,
};
const SERIES_DROPPED: Family = Family {
    name: "sluice_metric_series_dropped_total",
    help: "Counts that were lost because their metric had too many series.",
    kind: Kind::Counter,
};

#[derive(Default)]
pub(super) struct Metrics {
    requests: RwLock<Requests>,
    series: RwLock<BTreeMap<&'static str, Counted>>,
    collectors: RwLock<Vec<Collector>>,
    dropped: AtomicU64,
}

/// Adds samples of its own to a scrape.
struct Collector(Box<dyn Fn(&mut Samples) + Send + Sync>);

/// The series of one family, by their labels as they are written.
struct Counted {
    family: Family,
    series: HashMap<String, Arc<AtomicU64>>,
}

#[derive(Default)]
struct Requests {
    /// The few feeds of one (class, outcome, status), searched one by one so that counting allocates nothing.
    counts: HashMap<Words, Vec<Counts>>,
    /// By outcome: what a hit costs and what a miss costs are different questions.
    durations: BTreeMap<&'static str, Histogram>,
    series: usize,
}

/// Labels of a request but its feed.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
struct Words {
    class: &'static str,
    outcome: &'static str,
    status: u16,
}

impl Words {
    fn of(request: &Request<'_>) -> Self {
        Self {
            class: request.class,
            outcome: request.outcome,
            status: request.status,
        }
    }
}

struct Counts {
    feed: Box<str>,
    requests: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Default)]
struct Histogram {
    /// How many fell into each bucket and into none below it; the last is everything longer.
    buckets: [AtomicU64; BUCKETS_MS.len() + 1],
    sum_micros: AtomicU64,
}

impl Requests {
    fn find(&self, request: &Request<'_>) -> Option<(&Counts, &Histogram)> {
        let feeds = self.counts.get(&Words::of(request))?;
        let counts = feeds.iter().find(|counts| *counts.feed == *request.feed)?;
        Some((counts, self.durations.get(request.outcome)?))
    }
}

impl Metrics {
    pub(super) fn count_request(&self, request: &Request<'_>) {
        {
            let requests = self.requests.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = requests.find(request) {
                note(found, request);
                return;
            }
        }
        let mut requests = self
            .requests
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if requests.find(request).is_none() {
            if requests.series >= MAX_SERIES {
                self.dropped.fetch_add(1, Relaxed);
                return;
            }
            requests.series += 1;
            requests
                .counts
                .entry(Words::of(request))
                .or_default()
                .push(Counts {
                    feed: request.feed.into(),
                    requests: AtomicU64::new(0),
                    bytes: AtomicU64::new(0),
                });
            requests.durations.entry(request.outcome).or_default();
        }
        if let Some(found) = requests.find(request) {
            note(found, request);
        }
    }

    pub(super) fn add(&self, family: &Family, labels: &[(&'static str, &str)], by: u64) {
        if let Some(series) = self.series(family, labels) {
            series.fetch_add(by, Relaxed);
        }
    }

    pub(super) fn set(&self, family: &Family, labels: &[(&'static str, &str)], value: u64) {
        if let Some(series) = self.series(family, labels) {
            series.store(value, Relaxed);
        }
    }

    fn series(&self, family: &Family, labels: &[(&'static str, &str)]) -> Option<Arc<AtomicU64>> {
        let labels = write_labels(labels);
        {
            let all = self.series.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = all
                .get(family.name)
                .and_then(|counted| counted.series.get(&labels))
            {
                return Some(Arc::clone(found));
            }
        }
        let mut all = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let Counted { series, .. } = all.entry(family.name).or_insert_with(|| Counted {
            family: *family,
            series: HashMap::new(),
        });
        if series.len() >= MAX_SERIES && !series.contains_key(&labels) {
            self.dropped.fetch_add(1, Relaxed);
            return None;
        }
        Some(Arc::clone(series.entry(labels).or_default()))
    }

    pub(super) fn collect(&self, read: impl Fn(&mut Samples) + Send + Sync + 'static) {
        self.collectors
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Collector(Box::new(read)));
    }

    pub(super) fn render(&self) -> String {
        let mut samples = Samples::default();
        samples.add(&SERIES_DROPPED, &[], self.dropped.load(Relaxed));
        for counted in self
            .series
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            for (labels, value) in &counted.series {
                samples.push(counted.family, labels.clone(), value.load(Relaxed));
            }
        }
        for collector in self
            .collectors
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            (collector.0)(&mut samples);
        }
        let requests = self.requests.read().unwrap_or_else(PoisonError::into_inner);
        for (words, feeds) in &requests.counts {
            for counts in feeds {
                let status = words.status.to_string();
                let labels = write_labels(&[
                    ("feed", &counts.feed),
                    ("class", words.class),
                    ("outcome", words.outcome),
                    ("status", &status),
                ]);
                samples.push(REQUESTS, labels.clone(), counts.requests.load(Relaxed));
                samples.push(RESPONSE_BYTES, labels, counts.bytes.load(Relaxed));
            }
        }
        let mut text = write_families(samples);
        write_durations(&mut text, &requests.durations);
        text
    }
}

fn note((counts, histogram): (&Counts, &Histogram), request: &Request<'_>) {
    counts.requests.fetch_add(1, Relaxed);
    counts.bytes.fetch_add(request.bytes, Relaxed);
    let micros = u64::try_from(request.duration.as_micros()).unwrap_or(u64::MAX);
    let bucket = BUCKETS_MS.partition_point(|bound| bound * 1000 < micros);
    if let Some(bucket) = histogram.buckets.get(bucket) {
        bucket.fetch_add(1, Relaxed);
    }
    histogram.sum_micros.fetch_add(micros, Relaxed);
}

fn write_families(samples: Samples) -> String {
    let mut text = String::new();
    for (name, group) in samples.families {
        let Group { family, mut values } = group;
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let help = family.help;
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        values.sort();
        for (labels, value) in values {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    }
    text
}

fn write_durations(text: &mut String, durations: &BTreeMap<&'static str, Histogram>) {
    const NAME: &str = "sluice_request_duration_seconds";
    let _ = writeln!(
        text,
        "# HELP {NAME} From a request's head to the end of its answer.\n# TYPE {NAME} histogram"
    );
    for (outcome, histogram) in durations {
        let mut below = 0;
        for (i, bucket) in histogram.buckets.iter().enumerate() {
            below += bucket.load(Relaxed);
            let bound = BUCKETS_MS
                .get(i)
                .map_or_else(|| "+Inf".to_owned(), |millis| decimal(*millis, 3));
            let _ = writeln!(
                text,
                "{NAME}_bucket{{outcome=\"{outcome}\",le=\"{bound}\"}} {below}"
            );
        }
        let sum = decimal(histogram.sum_micros.load(Relaxed), 6);
        let _ = writeln!(text, "{NAME}_sum{{outcome=\"{outcome}\"}} {sum}");
        let _ = writeln!(text, "{NAME}_count{{outcome=\"{outcome}\"}} {below}");
    }
}

/// `value` divided by ten to the power of `digits`, exactly and without zeros at its end.
fn decimal(value: u64, digits: u32) -> String {
    let unit = 10_u64.pow(digits);
    let fraction = format!("{:0width$}", value % unit, width = digits as usize);
    let text = format!("{}.{fraction}", value / unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Labels in braces, their values escaped; nothing if there are none.
fn write_labels(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (i, (name, value)) in labels.iter().enumerate() {
        text.push(if i == 0 { '{' } else { ',' });
        let _ = write!(text, "{name}=\"");
        for c in value.chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                _ => text.push(c),
            }
        }
        text.push('"');
    }
    if !labels.is_empty() {
        text.push('}');
    }
    text
}

#[cfg(test)]
mod tests;
