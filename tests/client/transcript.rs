//! What the client printed, made comparable: no addresses, folders or times.

/// The text with URLs on loopback replaced by `URL`, the machine's folder by `MACHINE`, times by
/// `TIME`, its lines sorted.
///
/// Sorted, because projects are restored side by side and print in any order.
pub(crate) fn comparable(text: &str, root: &str) -> String {
    let text = text.replace(root, "MACHINE");
    let lines = text
        .lines()
        .map(|line| without_times(&without_urls(line.trim_end())));
    let mut lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines.sort();
    lines.join("\n")
}

/// Each URL on loopback, to its end, becomes `URL`.
fn without_urls(line: &str) -> String {
    let line = line.replace("https://127.0.0.", "http://127.0.0.");
    let mut parts = line.split("http://127.0.0.");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let ends = |c: char| c.is_whitespace() || "\"'<>()[],;".contains(c);
        let end = part.find(ends).unwrap_or(part.len());
        out.push_str("URL");
        out.push_str(&part[end..]);
    }
    out
}

/// `(in 3.87 sec)`, `540 ms` and `32ms` become `(in TIME)`, `TIME` and `TIME`.
fn without_times(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let number = &rest[at..];
        let end = number
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(number.len());
        let after = number[end..].strip_prefix(' ').unwrap_or(&number[end..]);
        let unit = ["ms", "sec", "s", "min"].into_iter().find(|unit| {
            let next = after.strip_prefix(unit).map(|tail| tail.chars().next());
            next.is_some_and(|next| next.is_none_or(|c| !c.is_alphanumeric()))
        });
        out.push_str(&rest[..at]);
        match unit {
            Some(unit) => {
                out.push_str("TIME");
                rest = &after[unit.len()..];
            }
            None => {
                out.push_str(&number[..end]);
                rest = &number[end..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[test]
fn times_go_and_versions_stay() {
    #[track_caller]
    fn check(line: &str, expected: &str) {
        assert_eq!(without_times(line), expected);
    }
    check(
        "Restored a.csproj (in 3.87 sec).",
        "Restored a.csproj (in TIME).",
    );
    check(
        "Restored a.csproj (in 540 ms).",
        "Restored a.csproj (in TIME).",
    );
    check(
        "OK http://h/a.1.2.3.nupkg 12ms",
        "OK http://h/a.1.2.3.nupkg TIME",
    );
    check(
        "Polly.Core 8.5.2 depends on 3 sectors",
        "Polly.Core 8.5.2 depends on 3 sectors",
    );
    check("no digit", "no digit");
}

#[test]
fn order_folders_and_addresses_do_not_count() {
    let text = "b 'https://127.0.0.1:1/v3'.\n\na /mnt/me/x http://127.0.0.4:22/y 1 ms\n";
    assert_eq!(
        comparable(text, "/mnt/me"),
        "a MACHINE/x URL TIME\nb 'URL'."
    );
}
