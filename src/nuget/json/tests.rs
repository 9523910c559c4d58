//! Tables, and the scanner against `serde_json`: whatever that accepts, we accept with the same content.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

/// The value that the scanner reads, as a tree. A surrogate that stands alone fails it, as in `serde_json`.
fn tree(scanner: &mut Scanner<'_>) -> Result<Value, ReadError> {
    Ok(match scanner.peek()? {
        Kind::Array => {
            let mut items = Vec::new();
            scanner.array(|scanner| {
                items.push(tree(scanner)?);
                Ok(())
            })?;
            Value::Array(items)
        }
        Kind::Object => {
            let mut members = Map::new();
            scanner.object(|scanner, name| {
                members.insert(name.into_owned(), tree(scanner)?);
                Ok(())
            })?;
            Value::Object(members)
        }
        Kind::String => {
            let span = scanner.string()?;
            Value::String(scanner.decode(&span).into_owned())
        }
        Kind::Bool | Kind::Null | Kind::Number => {
            let span = scanner.skip()?;
            let raw = &scanner.text[span];
            serde_json::from_str(raw).map_err(|error| scanner.error(error.to_string()))?
        }
    })
}

fn read(text: &str) -> Result<Value, ReadError> {
    let mut scanner = Scanner::new("test", text);
    let value = tree(&mut scanner)?;
    scanner.end()?;
    Ok(value)
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert!(complete_value(text).is_ok(), "{text}");
    assert_eq!(
        read(text),
        Ok(serde_json::from_str(expected).unwrap()),
        "{text}"
    );
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    let skipped = complete_value(text).map_err(|error| error.to_string());
    assert_eq!(skipped, Err(format!("JSON document: {expected}")), "{text}");
    let read = read(text).map_err(|error| error.to_string());
    assert_eq!(read, Err(format!("test: {expected}")), "{text}");
}

#[test]
fn takes_what_the_real_client_takes() {
    check("\u{feff}{}", "{}");
    check("\u{feff}\u{feff} [1]", "[1]");
    check("{\"a\":1,}", r#"{"a":1}"#);
    check("[1,[2 , ],\r\n]\t", "[1,[2]]");
    check(r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#);
    check(r#"["\ud83d\ude00"]"#, r#"["😀"]"#);
    check(
        r#"["\ud83d", "\ude00x", "\ud83d\u0041"]"#,
        r#"["�", "�x", "�A"]"#,
    );
    check("[\"a\tb\nc\"]", r#"["a\tb\nc"]"#);
    check(
        r#"{"\u0040id":"\"\\\/\b\f\n\r\t\'"}"#,
        r#"{"@id":"\"\\/\b\f\n\r\t'"}"#,
    );
    check(
        "[-0,1.5e+3,2E-2,true,false,null]",
        "[-0,1500.0,0.02,true,false,null]",
    );
}

#[test]
fn refuses_what_is_no_json() {
    check_refused("", "at byte 0: expected a value, found the end of the text");
    check_refused("<html>", "at byte 0: expected a value, found '<'");
    check_refused("[1,,2]", "at byte 3: expected a value, found ','");
    check_refused("[,]", "at byte 1: expected a value, found ','");
    check_refused("{,}", "at byte 1: expected a string, found ','");
    check_refused("{\"a\" 1}", "at byte 5: expected ':', found '1'");
    check_refused("{\"a\":}", "at byte 5: expected a value, found '}'");
    check_refused("{\"a\":1 x", "at byte 7: expected ',' or '}', found 'x'");
    check_refused("[1}", "at byte 2: expected ',' or ']', found '}'");
    check_refused(
        "{\"a\":[{\"b\":1",
        "at byte 12: expected ',' or '}', found the end of the text",
    );
    check_refused(
        "[\"é",
        "at byte 4: expected '\"', found the end of the text",
    );
    check_refused("[\"\\x\"]", "at byte 3: expected an escape, found 'x'");
    check_refused(
        "[\"\\u12é\"]",
        "at byte 6: expected a hexadecimal digit, found 'é'",
    );
    check_refused(
        "[\"\\u123",
        "at byte 7: expected a hexadecimal digit, found the end of the text",
    );
    check_refused("[tru]", "at byte 1: expected a value, found 't'");
    check_refused("[01]", "at byte 2: expected ',' or ']', found '1'");
    check_refused("[1.]", "at byte 3: expected a digit, found ']'");
    check_refused("[-]", "at byte 2: expected a digit, found ']'");
    check_refused(
        "{} {}",
        "at byte 3: expected the end of the text, found '{'",
    );
    check_refused(
        "{}\0",
        "at byte 2: expected the end of the text, found '\\0'",
    );
}

#[test]
fn limits_depth() {
    let nested = |depth: usize, open: &str, close: &str| {
        format!("{}1{}", open.repeat(depth), close.repeat(depth))
    };
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        let depth = 64 / open.matches(['[', '{']).count();
        check(&nested(depth, open, close), &nested(depth, open, close));
        let at = depth * open.len() + 1;
        check_refused(
            &nested(depth + 1, open, close),
            &format!("at byte {at}: nested deeper than 64 levels"),
        );
    }
    // Depth is of what is open, not of what was.
    check(
        &format!("[{}[]]", "[],".repeat(200)),
        &format!("[{}[]]", "[],".repeat(200)),
    );
}

#[test]
fn spans_are_those_of_the_text() {
    let text = "\u{feff}{ \"a\" : \"x\\ty\" , \"b\" : [ 1 , {} ] }";
    let mut scanner = Scanner::new("test", text);
    let mut spans = Vec::new();
    let whole = scanner
        .object(|scanner, name| {
            spans.push((name.into_owned(), scanner.skip()?));
            Ok(())
        })
        .unwrap();
    assert_eq!(&text[whole], &text[3..]);
    let slices: Vec<_> = spans
        .iter()
        .map(|(name, span)| (name.as_str(), &text[span.clone()]))
        .collect();
    assert_eq!(slices, [("a", "\"x\\ty\""), ("b", "[ 1 , {} ]")]);
}

#[test]
fn values_left_unread_are_skipped_and_other_kinds_give_none() {
    let text =
        r#"{"s":"x","n":12,"t":"true","f":false,"q":"7","neg":-1,"o":{"deep":[1]},"null":null}"#;
    let mut seen = Vec::new();
    let mut scanner = Scanner::new("test", text);
    scanner
        .object(|scanner, name| {
            let value = match name.as_ref() {
                "s" | "n" => format!("{:?}", scanner.text()?.map(|text| text.content)),
                "t" | "f" | "null" => format!("{:?}", scanner.boolean()?),
                "q" | "neg" => format!("{:?}", scanner.integer()?),
                _ => return Ok(()),
            };
            seen.push(format!("{name}={value}"));
            Ok(())
        })
        .unwrap();
    assert_eq!(
        seen,
        [
            "s=Some(\"x\")",
            "n=None",
            "t=Some(true)",
            "f=Some(false)",
            "q=Some(7)",
            "neg=None",
            "null=None"
        ]
    );
    assert_eq!(scanner.end(), Ok(()));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\\\\\"/\u{0}-\u{1f}a\u{d7ff}\u{e000}\u{1f600}]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_every_document_as_serde_json_does(value in value()) {
        for text in [serde_json::to_string(&value), serde_json::to_string_pretty(&value)] {
            let text = text.unwrap();
            prop_assert_eq!(read(&text), Ok(serde_json::from_str(&text).unwrap()));
            prop_assert!(complete_value(&text).is_ok());
        }
    }

    #[test]
    fn damaged_text_is_read_as_serde_json_does_or_refused_by_both_ways(
        value in value(),
        place in any::<prop::sample::Index>(),
        cut in 0_usize..4,
        patch in "[\\[\\]{}:,\"\\\\u0-9a-f.eE+\\- tn\u{e9}]{0,4}",
    ) {
        let mut chars: Vec<char> = serde_json::to_string(&value).unwrap().chars().collect();
        let start = place.index(chars.len());
        let end = (start + cut).min(chars.len());
        chars.splice(start..end, patch.chars());
        let text: String = chars.into_iter().collect();
        let ours = read(&text);
        if let Ok(theirs) = serde_json::from_str::<Value>(&text) {
            prop_assert_eq!(&ours, &Ok(theirs));
        }
        if ours.is_ok() {
            prop_assert!(complete_value(&text).is_ok());
        }
    }

    #[test]
    fn encoding_is_undone_by_decoding(text in any::<String>()) {
        let json = encode_string(&text);
        prop_assert_eq!(decode_string(&json), text.as_str());
        prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
