//! The packages that every shape offers: dependencies across four ids, versions that servers spell differently.

use std::io::{Cursor, Write as _};

use serde_json::{Value, json};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// One package.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package {
    pub(crate) id: &'static str,
    /// As its manifest has it.
    pub(crate) version: &'static str,
    /// Normalised, in lower case.
    pub(crate) normal: &'static str,
    /// Ids and lowest versions.
    pub(crate) dependencies: &'static [(&'static str, &'static str)],
}

const fn package(
    id: &'static str,
    version: &'static str,
    normal: &'static str,
    dependencies: &'static [(&'static str, &'static str)],
) -> Package {
    Package {
        id,
        version,
        normal,
        dependencies,
    }
}

/// All packages; versions of an id ascend.
pub(crate) const ALL: [Package; 13] = [
    package(
        "Shape.App",
        "2.0.0",
        "2.0.0",
        &[("Shape.Lib", "1.1.0"), ("Shape.Text", "22.1")],
    ),
    package("Shape.Lib", "1.0.0", "1.0.0", &[]),
    package("Shape.Lib", "1.1.0", "1.1.0", &[("Shape.Many", "1.1.5")]),
    package("Shape.Lib", "2.0.0-Beta.1", "2.0.0-beta.1", &[]),
    package("Shape.Many", "1.0.0-RC.1", "1.0.0-rc.1", &[]),
    package("Shape.Many", "1.0.0", "1.0.0", &[]),
    package("Shape.Many", "1.1.0", "1.1.0", &[]),
    package("Shape.Many", "1.2.0", "1.2.0", &[]),
    package("Shape.Many", "1.3.0", "1.3.0", &[]),
    package("Shape.Many", "1.4.0", "1.4.0", &[]),
    package("Shape.Many", "1.5.0", "1.5.0", &[]),
    package("Shape.Text", "22.1", "22.1.0", &[("Shape.Many", "1.1.0")]),
    package("Shape.Text", "23.1.0.4", "23.1.0.4", &[]),
];

/// What a project that refers to `Shape.App` is given: the lowest versions that fit, as (id, normalised version).
pub(crate) const RESTORED: [(&str, &str); 4] = [
    ("Shape.App", "2.0.0"),
    ("Shape.Lib", "1.1.0"),
    ("Shape.Many", "1.2.0"),
    ("Shape.Text", "22.1.0"),
];

/// The packages of each id.
pub(crate) fn by_id() -> impl Iterator<Item = &'static [Package]> {
    ALL.chunk_by(|one, other| one.id == other.id)
}

/// The package of an id, whatever its case, and a normalised version.
pub(crate) fn find(id: &str, normal: &str) -> &'static Package {
    ALL.iter()
        .find(|package| package.id.eq_ignore_ascii_case(id) && package.normal == normal)
        .unwrap_or_else(|| panic!("no package {id} {normal}"))
}

impl Package {
    /// The id in lower case.
    pub(crate) fn lower_id(&self) -> String {
        self.id.to_lowercase()
    }

    /// The path of its file below a flat container.
    pub(crate) fn path(&self) -> String {
        let (id, version) = (self.lower_id(), self.normal);
        format!("{id}/{version}/{id}.{version}.nupkg")
    }

    /// Its bytes, always the same.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let manifest = self.manifest();
        // More than is held back until the verdict, and different in every package.
        let noise = format!("{} {} ", self.id, self.version).repeat(2000);
        let files = [
            (format!("{}.nuspec", self.id), manifest.as_bytes()),
            (
                format!("lib/netstandard2.0/{}.dll", self.id),
                noise.as_bytes(),
            ),
        ];
        for (name, content) in files {
            writer.start_file(name, stored).expect("a name");
            writer.write_all(content).expect("memory");
        }
        writer.finish().expect("memory").into_inner()
    }

    /// Its manifest.
    pub(crate) fn manifest(&self) -> String {
        let dependencies: String = self
            .dependencies
            .iter()
            .map(|(id, version)| format!("<dependency id=\"{id}\" version=\"{version}\" />"))
            .collect();
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
             <package xmlns=\"http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd\"><metadata>\
             <id>{}</id><version>{}</version><authors>Somebody</authors>\
             <description>A package of many servers.</description>\
             <dependencies><group targetFramework=\".NETStandard2.0\">{dependencies}</group></dependencies>\
             </metadata></package>",
            self.id, self.version
        )
    }

    /// Its dependencies as registrations have them: `more` of each dependency is added, by id.
    pub(crate) fn dependency_groups(&self, more: impl Fn(&str) -> Value) -> Value {
        let dependencies: Vec<Value> = self
            .dependencies
            .iter()
            .map(|(id, version)| {
                joined(
                    json!({"id": id, "range": format!("[{version}, )")}),
                    more(id),
                )
            })
            .collect();
        json!([{"targetFramework": ".NETStandard2.0", "dependencies": dependencies}])
    }
}

/// One object with the members of both.
pub(crate) fn joined(mut one: Value, other: Value) -> Value {
    if let (Value::Object(members), Value::Object(others)) = (&mut one, other) {
        members.extend(others);
    }
    one
}
