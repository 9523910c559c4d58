//! Settings of upstreams beside the feeds' own, read from every source.

use std::time::Duration;

use super::{Arguments, Config, Environment, Problems, load};

fn load_file(text: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    let file = [("SLUICE_CONFIG_TOML", text)];
    let variables = [&file[..], variables].concat();
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    load(&Arguments::default(), &Environment::new(variables))
}

#[test]
fn the_tools_table_flags_and_variables_are_one_setting() {
    let url = |config: Config| config.proxy.tools.upstream;
    let file = "[tools]\nupstream = \"https://a.test/tools.json\"\nfresh = \"2h\"";
    let config = load_file(file, &[]).unwrap();
    assert_eq!(config.proxy.tools.fresh, Duration::from_secs(7200));
    assert_eq!(url(config).as_deref(), Some("https://a.test/tools.json"));
    let over = [("SLUICE_TOOLS_UPSTREAM", "https://b.test/tools.json")];
    let config = load_file(file, &over).unwrap();
    assert_eq!(url(config).as_deref(), Some("https://b.test/tools.json"));
    assert!(load_file("[tools]\nurl = \"https://a.test/\"", &[]).is_err());
    assert!(load_file("[tools]\nupstream = \"tools.json\"", &[]).is_err());
    assert!(load_file("tools = 1", &[]).is_err());
}

#[test]
fn further_upstreams_of_a_feed_are_addresses() {
    let file = "[[feed]]\nname = \"a\"\nupstream = \"https://a.test/\"\n";
    let given =
        "audit_upstream = \"https://b.test/i.json\"\nsymbols_upstream = \"https://c.test/s\"";
    let config = load_file(&format!("{file}{given}"), &[]).unwrap();
    let feed = &config.proxy.feeds[0];
    assert_eq!(
        feed.audit_upstream.as_deref(),
        Some("https://b.test/i.json")
    );
    assert_eq!(feed.symbols_upstream.as_deref(), Some("https://c.test/s"));
    for setting in ["audit_upstream", "symbols_upstream"] {
        let problems = load_file(&format!("{file}{setting} = \"b.test\""), &[]).unwrap_err();
        assert!(problems.to_string().contains(setting), "{problems}");
    }
}
