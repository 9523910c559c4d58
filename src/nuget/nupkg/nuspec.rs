//! The id and version of a nuspec.
//!
//! The document must be well-formed XML to its end; all but these two elements is passed over unread.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};

use crate::nuget::id::PackageId;
use crate::nuget::version::Version;

/// What a nuspec says its package is, as written but for white space around it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::nuget) struct Nuspec {
    pub(super) id: String,
    pub(super) version: String,
}

impl Nuspec {
    /// The package, if both are valid.
    pub(in crate::nuget) fn identity(&self) -> Option<(PackageId, Version)> {
        let id = PackageId::parse(&self.id).ok()?;
        Some((id, Version::parse(&self.version).ok()?))
    }
}

/// Reads a nuspec in UTF-8 or, with a byte order mark, UTF-16. Bytes that are not UTF-8 count as U+FFFD: elements that
/// matter here are ASCII but for ids, and a description in another encoding spoils nothing.
///
/// # Errors
/// If the document is not well-formed or lacks the elements, in words.
pub(in crate::nuget) fn read(bytes: &[u8]) -> Result<Nuspec, String> {
    let text = decode(bytes);
    let mut reader = Reader::from_str(&text);
    let mut walk = Walk::default();
    loop {
        let event = reader.read_event();
        let event = event.map_err(|e| format!("at byte {}: {e}", reader.error_position()))?;
        match event {
            Event::Start(tag) => walk.enter(tag.local_name().as_ref())?,
            Event::Empty(tag) => {
                walk.enter(tag.local_name().as_ref())?;
                walk.leave();
            }
            Event::End(_) => walk.leave(),
            Event::Text(text) => walk.text(&text.decode().map_err(|e| e.to_string())?)?,
            Event::CData(text) => walk.text(&text.decode().map_err(|e| e.to_string())?)?,
            Event::GeneralRef(reference) => walk.text(&resolve(&reference)?)?,
            Event::Comment(_) | Event::Decl(_) | Event::DocType(_) | Event::PI(_) => {}
            Event::Eof => return walk.finish(),
        }
    }
}

fn resolve(reference: &BytesRef<'_>) -> Result<String, String> {
    if let Some(c) = reference.resolve_char_ref().map_err(|e| e.to_string())? {
        return Ok(c.to_string());
    }
    let name = reference.decode().map_err(|e| e.to_string())?;
    let text =
        resolve_predefined_entity(&name).ok_or_else(|| format!("unknown entity &{name};"))?;
    Ok(text.to_owned())
}

fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| -> Cow<'_, str> {
        let units = bytes
            .chunks_exact(2)
            .filter_map(|pair| pair.try_into().ok())
            .map(unit);
        let chars = char::decode_utf16(units);
        Cow::Owned(
            chars
                .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect(),
        )
    };
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        _ => String::from_utf8_lossy(bytes),
    }
}

/// Which element's text is being read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Field {
    Id,
    Version,
}

/// The elements `metadata/id` and `metadata/version` below the root, of each the first, as the client takes them.
#[derive(Debug, Default)]
struct Walk {
    /// How many elements are open.
    depth: u64,
    /// Whether the root was seen: there is only one.
    has_root: bool,
    /// The first `metadata`: not yet seen, open, or closed.
    metadata: Metadata,
    field: Option<Field>,
    id: Option<String>,
    version: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Metadata {
    #[default]
    Awaited,
    Closed,
    Open,
}

impl Walk {
    fn enter(&mut self, name: &[u8]) -> Result<(), String> {
        match (self.depth, self.metadata, name) {
            (0, ..) if self.has_root => return Err("expected one root element, found two".into()),
            (0, ..) => self.has_root = true,
            (1, Metadata::Awaited, b"metadata") => self.metadata = Metadata::Open,
            (2, Metadata::Open, b"id") if self.id.is_none() => {
                self.id = Some(String::new());
                self.field = Some(Field::Id);
            }
            (2, Metadata::Open, b"version") if self.version.is_none() => {
                self.version = Some(String::new());
                self.field = Some(Field::Version);
            }
            _ => {}
        }
        self.depth += 1;
        Ok(())
    }

    /// Closes an element; the reader has checked that one of this name is open.
    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        match self.depth {
            1 if self.metadata == Metadata::Open => self.metadata = Metadata::Closed,
            2 => self.field = None,
            _ => {}
        }
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        if self.depth == 0 && !text.trim().is_empty() {
            return Err("expected an element, found text outside the root".into());
        }
        let value = match self.field {
            Some(Field::Id) => self.id.as_mut(),
            Some(Field::Version) => self.version.as_mut(),
            None => None,
        };
        if let Some(value) = value {
            value.push_str(text);
        }
        Ok(())
    }

    fn finish(self) -> Result<Nuspec, String> {
        if !self.has_root || self.depth > 0 {
            return Err("expected a whole XML document, found its end too early".into());
        }
        let of = |value: Option<String>, name| {
            let value = value.ok_or_else(|| format!("expected an element metadata/{name}"))?;
            Ok::<_, String>(value.trim().to_owned())
        };
        Ok(Nuspec {
            id: of(self.id, "id")?,
            version: of(self.version, "version")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nuspec(inner: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<package xmlns=\"http://x\"><metadata>{inner}</metadata></package>\n"
        )
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<(&str, &str), &str>) {
        let found = read(bytes);
        let found = found
            .as_ref()
            .map(|n| (&*n.id, &*n.version))
            .map_err(String::as_str);
        assert_eq!(found, expected);
    }

    #[test]
    fn reads_id_and_version_however_they_are_written() {
        let plain = nuspec("<id>A.B</id><version>1.0.0</version>");
        check(plain.as_bytes(), Ok(("A.B", "1.0.0")));
        check(format!("\u{feff}{plain}").as_bytes(), Ok(("A.B", "1.0.0")));
        let little: Vec<u8> = format!("\u{feff}{plain}")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        check(&little, Ok(("A.B", "1.0.0")));
        let big: Vec<u8> = format!("\u{feff}{plain}")
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        check(&big, Ok(("A.B", "1.0.0")));
        let odd = nuspec(
            "<!-- <id>x</id> --><version> 1.0 </version>\n<id>\n A<![CDATA[&]]>&amp;&#x42;<!-- y -->C </id>",
        );
        check(odd.as_bytes(), Ok(("A&&BC", "1.0")));
        let prefixed = "<n:package xmlns:n='x'><n:metadata><n:id>A</n:id><n:version>1</n:version></n:metadata></n:package>";
        check(prefixed.as_bytes(), Ok(("A", "1")));
    }

    #[test]
    fn takes_the_first_at_its_place_only() {
        let many = nuspec(
            "<owners><id>no</id></owners><id>A</id><id>B</id><version>1</version><version>2</version>",
        );
        check(many.as_bytes(), Ok(("A", "1")));
        let twice = "<p><files><id>no</id></files><metadata><version>1</version><id/></metadata><metadata><id>A</id></metadata></p>";
        check(twice.as_bytes(), Ok(("", "1")));
    }

    #[test]
    fn other_encodings_spoil_only_their_letters() {
        let mut latin = nuspec("<id>A</id><version>1</version><authors>J?</authors>").into_bytes();
        let at = latin
            .iter()
            .position(|byte| *byte == b'J')
            .expect("it is there")
            + 1;
        latin[at] = 0xe9;
        check(&latin, Ok(("A", "1")));
    }

    #[test]
    fn refuses_what_is_not_well_formed_or_no_nuspec() {
        let early = "expected a whole XML document, found its end too early";
        check(b"", Err(early));
        check(
            b"<package><metadata><id>A</id><version>1</version></metadata>",
            Err(early),
        );
        check(
            b"{}",
            Err("expected an element, found text outside the root"),
        );
        check(b"<a/><b/>", Err("expected one root element, found two"));
        check(
            nuspec("<id>A</id>").as_bytes(),
            Err("expected an element metadata/version"),
        );
        check(
            b"<html><id>A</id><version>1</version></html>",
            Err("expected an element metadata/id"),
        );
        check(nuspec("<id>&x;</id>").as_bytes(), Err("unknown entity &x;"));
        for bad in ["<id>A</version>", "<id", "</id>", "<id>A</id><!-- "] {
            assert!(read(nuspec(bad).as_bytes()).is_err(), "{bad}");
        }
    }
}
