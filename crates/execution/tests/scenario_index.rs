//! `docs/scenarios.md` names a scenario or a test for each rule: they exist.

use std::path::Path;

const INDEX: &str = include_str!("../../../docs/scenarios.md");

#[test]
fn every_rule_names_what_shows_it() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut rows = 0;
    for line in INDEX.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| rule")) {
        let (rule, shown) = line.trim_matches('|').rsplit_once('|').expect("two columns");
        let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "nothing shows: {rule}");
        for name in names {
            let path = match name.strip_suffix(".txt") {
                Some(_) => package.join("testdata/workflow").join(name),
                None => package.join("../..").join(name),
            };
            assert!(path.is_file(), "{} does not exist; it should show: {rule}", path.display());
        }
        rows += 1;
    }
    assert!(rows > 50, "{rows} rows");
}
