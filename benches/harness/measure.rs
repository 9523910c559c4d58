//! How long a bench runs, and what of its numbers is shown.

/// Whether to run the short form, which only proves that the bench works: with `--smoke`, with
/// `SLUICE_BENCH_SMOKE=1`, and wherever `cargo bench` is not the caller.
pub(crate) fn is_smoke() -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    let named = std::env::var_os("SLUICE_BENCH_SMOKE").is_some_and(|value| value == "1");
    has("--smoke") || named || !has("--bench")
}

/// How many rounds to run: what `SLUICE_BENCH_ROUNDS` says, else one number for the short form and one for the long.
///
/// # Panics
/// If the variable is no number.
pub(crate) fn rounds(short: usize, long: usize) -> usize {
    match std::env::var("SLUICE_BENCH_ROUNDS") {
        Ok(text) => text.parse().expect("SLUICE_BENCH_ROUNDS is a number"),
        Err(_) if is_smoke() => short,
        Err(_) => long,
    }
}

/// The middle of some numbers, of an even count the mean of the two in the middle.
///
/// # Panics
/// If there are none.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

/// `0.97 (0.91–1.04)`: the median and the range.
pub(crate) fn spread(numbers: &[f64]) -> String {
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.2} ({low:.2}–{high:.2})", median(numbers))
}
