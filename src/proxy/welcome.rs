//! What a person needs to use this proxy: source URLs, the commands that turn it on and off, lines of a nuget.config.
//!
//! One text for the terminal at start, one page for a browser. The commands *replace* nuget.org under its own key: a
//! second source beside it fails with it, and another key breaks package source mapping. They name the user's own
//! configuration file, since without it a command run inside a repository rewrites that repository's file. It refuses
//! to look at a request: the base URL is handed in.

use std::fmt::Write as _;

/// A feed as the texts name it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The feed's name.
    pub name: &'a str,
    /// The feed's upstream service index.
    pub upstream: &'a str,
}

/// Whose shell a command is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shell {
    /// `sh` and its kin.
    Posix,
    /// Command Prompt. (PowerShell would not expand `%AppData%`.)
    Windows,
}

impl Shell {
    /// The shell of the platform that this was built for.
    #[must_use]
    pub fn native() -> Self {
        if cfg!(windows) {
            Self::Windows
        } else {
            Self::Posix
        }
    }

    /// The user's own NuGet configuration.
    fn configuration(self) -> &'static str {
        match self {
            Self::Posix => "~/.nuget/NuGet/NuGet.Config",
            Self::Windows => "\"%AppData%\\NuGet\\NuGet.Config\"",
        }
    }
}

/// The source under whose key the commands put us.
const NUGET_ORG: &str = "https://api.nuget.org/v3/index.json";

/// The texts for one base URL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Welcome {
    /// Name and source URL of each feed. The first is also the default below `/v3/`.
    pub sources: Vec<(String, String)>,
    /// The source URL of the first feed.
    pub default_source: String,
    insecure: &'static str,
}

impl Welcome {
    /// The texts for clients that reach us at `base_url`, such as `http://127.0.0.1:6850`.
    #[must_use]
    pub fn new(base_url: &str, feeds: &[Source<'_>]) -> Self {
        let base = base_url.trim_end_matches('/');
        Self {
            sources: feeds
                .iter()
                .map(|feed| {
                    let url = format!("{base}/{}/v3/index.json", feed.name);
                    (feed.name.to_owned(), url)
                })
                .collect(),
            default_source: format!("{base}/v3/index.json"),
            insecure: if base.starts_with("https:") {
                ""
            } else {
                " --allow-insecure-connections"
            },
        }
    }

    /// The command that makes this user's restores go through us.
    #[must_use]
    pub fn enable(&self, shell: Shell) -> String {
        format!(
            "dotnet nuget update source nuget.org --source {} --configfile {}{}",
            self.default_source,
            shell.configuration(),
            self.insecure
        )
    }

    /// The command that undoes it.
    #[must_use]
    pub fn disable(&self, shell: Shell) -> String {
        format!(
            "dotnet nuget update source nuget.org --source {NUGET_ORG} --configfile {}",
            shell.configuration()
        )
    }

    /// Lines of a nuget.config, for SDKs that do not know the option `--allow-insecure-connections`.
    #[must_use]
    pub fn configuration(&self) -> String {
        let insecure = if self.insecure.is_empty() {
            ""
        } else {
            " allowInsecureConnections=\"true\""
        };
        format!(
            "<packageSources>\n  <add key=\"nuget.org\" value=\"{}\" protocolVersion=\"3\"{insecure} />\n\
             </packageSources>",
            escape(&self.default_source)
        )
    }

    /// The text for a terminal.
    #[must_use]
    pub fn text(&self, shell: Shell) -> String {
        let mut text = format!("Source: {}\n", self.default_source);
        if self.sources.len() > 1 {
            for (name, url) in &self.sources {
                let _ = writeln!(text, "  feed {name}: {url}");
            }
        }
        let _ = write!(
            text,
            "\nUse it from this machine:\n  {}\n\nUndo that:\n  {}\n\nOlder SDKs, in {}:\n{}\n",
            self.enable(shell),
            self.disable(shell),
            shell.configuration(),
            indent(&self.configuration())
        );
        text
    }

    /// The page for a browser.
    #[must_use]
    pub fn html(&self) -> String {
        let mut page = String::from(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Sluice</title>\n\
             <h1>Sluice</h1>\n<p>A cache in front of NuGet feeds.</p>\n<h2>Sources</h2>\n<ul>\n",
        );
        for (name, url) in &self.sources {
            let (name, url) = (escape(name), escape(url));
            let _ = writeln!(page, "<li>{name}: <a href=\"{url}\">{url}</a></li>");
        }
        page.push_str("</ul>\n");
        let mut section = |title: &str, text: &str| {
            let _ = writeln!(page, "<h2>{title}</h2>\n<pre>{}</pre>", escape(text));
        };
        section("Use it (Linux, macOS)", &self.enable(Shell::Posix));
        section("Undo that", &self.disable(Shell::Posix));
        section("Use it (Windows)", &self.enable(Shell::Windows));
        section("Undo that (Windows)", &self.disable(Shell::Windows));
        section("Older SDKs: nuget.config", &self.configuration());
        page.push_str("</html>\n");
        page
    }
}

fn indent(text: &str) -> String {
    let lines = text.lines().map(|line| format!("  {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Text as it may stand in HTML and XML, between tags and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => escaped.push_str("&quot;"),
            '&' => escaped.push_str("&amp;"),
            '\'' => escaped.push_str("&#39;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUGET: Source<'_> = Source {
        name: "nuget",
        upstream: NUGET_ORG,
    };

    #[test]
    fn commands_replace_nuget_org_in_the_users_own_file() {
        let welcome = Welcome::new("http://127.0.0.1:6850", &[NUGET]);
        assert_eq!(
            welcome.enable(Shell::Posix),
            "dotnet nuget update source nuget.org --source http://127.0.0.1:6850/v3/index.json \
             --configfile ~/.nuget/NuGet/NuGet.Config --allow-insecure-connections"
        );
        assert_eq!(
            welcome.disable(Shell::Windows),
            "dotnet nuget update source nuget.org --source https://api.nuget.org/v3/index.json \
             --configfile \"%AppData%\\NuGet\\NuGet.Config\""
        );
        assert_eq!(
            welcome.configuration(),
            "<packageSources>\n  <add key=\"nuget.org\" value=\"http://127.0.0.1:6850/v3/index.json\" \
             protocolVersion=\"3\" allowInsecureConnections=\"true\" />\n</packageSources>"
        );
    }

    #[test]
    fn https_needs_no_permission_for_insecure_connections() {
        let welcome = Welcome::new("https://nuget.example/cache/", &[NUGET]);
        assert_eq!(
            welcome.enable(Shell::Posix),
            "dotnet nuget update source nuget.org --source https://nuget.example/cache/v3/index.json \
             --configfile ~/.nuget/NuGet/NuGet.Config"
        );
        assert!(!welcome.configuration().contains("Insecure"));
    }

    #[test]
    fn several_feeds_are_listed_with_urls_of_their_own() {
        let corp = Source {
            name: "corp",
            upstream: "https://corp.example/index.json",
        };
        let text = Welcome::new("http://a:1", &[NUGET, corp]).text(Shell::Posix);
        assert!(text.starts_with("Source: http://a:1/v3/index.json\n"));
        assert!(text.contains("feed nuget: http://a:1/nuget/v3/index.json\n"));
        assert!(text.contains("feed corp: http://a:1/corp/v3/index.json\n"));
    }

    #[test]
    fn a_page_escapes_the_base_url() {
        let page = Welcome::new("http://a\"><script>&'", &[NUGET]).html();
        assert!(!page.contains("<script>"));
        assert!(page.contains("http://a&quot;&gt;&lt;script&gt;&amp;&#39;/v3/index.json"));
    }
}
