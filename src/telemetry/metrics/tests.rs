//! What is counted, and that it is written as Prometheus reads it.

use std::time::Duration;

use super::*;
use crate::telemetry::Telemetry;

const PROBES: Family = Family {
    name: "sluice_probes_total",
    help: "Probes.",
    kind: Kind::Counter,
};
const STORED: Family = Family {
    name: "sluice_store_bytes",
    help: "Bytes stored.",
    kind: Kind::Gauge,
};

fn request(feed: &str, status: u16, millis: u64) -> Request<'_> {
    Request {
        feed,
        class: "package",
        outcome: "hit",
        status,
        bytes: 10,
        duration: Duration::from_millis(millis),
    }
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "{line}\n{text}");
}

#[test]
fn requests_are_counted_by_feed_class_outcome_and_status() {
    let telemetry = Telemetry::new();
    telemetry.count_request(&request("nuget", 200, 1));
    telemetry.count_request(&request("nuget", 200, 15_000));
    telemetry.count_request(&request("nuget", 304, 1));
    telemetry.count_request(&request("corp", 200, 70_000));
    let text = telemetry.render();
    let labels = |feed, status| {
        format!("{{feed=\"{feed}\",class=\"package\",outcome=\"hit\",status=\"{status}\"}}")
    };
    has(
        &text,
        &format!("sluice_requests_total{} 2", labels("nuget", 200)),
    );
    has(
        &text,
        &format!("sluice_requests_total{} 1", labels("nuget", 304)),
    );
    has(
        &text,
        &format!("sluice_requests_total{} 1", labels("corp", 200)),
    );
    has(
        &text,
        &format!("sluice_response_bytes_total{} 20", labels("nuget", 200)),
    );
    let bucket = "sluice_request_duration_seconds_bucket{outcome=\"hit\",le=";
    has(&text, &format!("{bucket}\"0.001\"}} 2"));
    has(&text, &format!("{bucket}\"10\"}} 2"));
    has(&text, &format!("{bucket}\"20\"}} 3"));
    has(&text, &format!("{bucket}\"+Inf\"}} 4"));
    has(
        &text,
        "sluice_request_duration_seconds_count{outcome=\"hit\"} 4",
    );
    has(
        &text,
        "sluice_request_duration_seconds_sum{outcome=\"hit\"} 85.002",
    );
}

#[test]
fn every_sample_line_has_help_and_type_before_it() {
    let telemetry = Telemetry::new();
    telemetry.count_request(&request("nuget", 200, 1));
    telemetry.add(&PROBES, &[("origin", "https://a")], 2);
    telemetry.add(&PROBES, &[("origin", "https://a")], 1);
    telemetry.collect(|samples| samples.add(&STORED, &[], 7));
    let text = telemetry.render();
    has(&text, "sluice_probes_total{origin=\"https://a\"} 3");
    has(&text, "sluice_store_bytes 7");
    has(&text, "# TYPE sluice_store_bytes gauge");
    let mut typed = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            rest.split(' ').next().unwrap().clone_into(&mut typed);
        } else if !line.starts_with('#') {
            assert!(line.starts_with(&typed) && !typed.is_empty(), "{line}");
        }
    }
}

#[test]
fn label_values_are_escaped() {
    assert_eq!(
        write_labels(&[("a", "x\"y\\z\n"), ("b", "")]),
        "{a=\"x\\\"y\\\\z\\n\",b=\"\"}"
    );
    assert_eq!(write_labels(&[]), "");
}

#[test]
fn labels_without_bound_are_dropped_and_counted() {
    let telemetry = Telemetry::new();
    for i in 0..=MAX_SERIES {
        telemetry.set(&STORED, &[("i", &i.to_string())], 1);
    }
    let text = telemetry.render();
    has(&text, "sluice_metric_series_dropped_total 1");
    let kept = text.lines().filter(|l| l.starts_with("sluice_store_bytes"));
    assert_eq!(kept.count(), MAX_SERIES);
}

#[test]
fn decimals_are_exact() {
    for (value, digits, expected) in [
        (1, 3, "0.001"),
        (1000, 3, "1"),
        (1500, 3, "1.5"),
        (0, 6, "0"),
        (60_000, 3, "60"),
    ] {
        assert_eq!(decimal(value, digits), expected);
    }
}
