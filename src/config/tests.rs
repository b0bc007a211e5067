use super::*;

/// `chat.toml` with every setting uncommented.
fn manual() -> String {
    let setting = |line: &str| {
        let rest = line.strip_prefix("# ")?;
        let (key, _) = rest.split_once(" = ")?;
        key.chars().all(|c| c.is_ascii_lowercase() || c == '_').then(|| rest.to_owned())
    };
    let lines = MANUAL.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned()));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_manual_shows_the_range_of_every_number() {
    let mut section = String::new();
    let mut seen = 0;
    for line in MANUAL.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        }
        let Some((name, value)) = line.strip_prefix("# ").and_then(|setting| setting.split_once(" = ")) else {
            continue;
        };
        if let Some(range) = range::Range::of(&format!("{section}.{name}")) {
            assert_eq!(value.split_once("  # ").map(|(_, range)| range), Some(&*range.to_string()), "{line}");
            seen += 1;
        }
    }
    assert_eq!(seen, range::RANGES.len());
}

#[test]
fn the_manual_shows_every_key_with_its_default() {
    let shown: toml::Table = manual().parse().expect("the manual is TOML");
    let known = toml::Table::try_from(Config::default()).expect("the defaults are TOML");
    assert_eq!(toml::to_string(&shown), toml::to_string(&known));
    assert_eq!(toml::from_str::<Config>(MANUAL), Ok(Config::default()), "all is commented out");
}
