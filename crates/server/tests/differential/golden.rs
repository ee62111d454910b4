//! Recorded answers: one file for each script file, one block for each scenario.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Scenario -> text.
pub(crate) type Answers = BTreeMap<(String, String), String>;

pub(crate) fn read(directory: &Path) -> Answers {
    let mut answers = Answers::new();
    let Ok(entries) = std::fs::read_dir(directory) else { return answers };
    for entry in entries {
        let path = entry.expect("an entry").path();
        let area = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a file");
        for block in text.split("\n== ").skip(1) {
            let (name, body) = block.split_once('\n').unwrap_or((block, ""));
            answers.insert((area.clone(), name.to_owned()), format!("{}\n", body.trim_end()));
        }
    }
    answers
}

/// Writes the files anew; areas without scenarios lose theirs.
pub(crate) fn write(directory: &Path, title: &str, answers: &Answers) {
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for ((area, name), body) in answers {
        let text = files.entry(area).or_insert_with(|| format!("# {title}\n"));
        write!(text, "\n== {name}\n{body}").expect("a string");
    }
    if directory.exists() {
        std::fs::remove_dir_all(directory).expect("removed");
    }
    std::fs::create_dir_all(directory).expect("a directory");
    for (area, text) in files {
        std::fs::write(directory.join(format!("{area}.txt")), text).expect("written");
    }
}

/// The lines that differ, with a little of what is around them.
pub(crate) fn difference(theirs: &str, ours: &str) -> String {
    let (theirs, ours): (Vec<&str>, Vec<&str>) = (theirs.lines().collect(), ours.lines().collect());
    // Longest common subsequence, from the back.
    let mut common = vec![vec![0_usize; ours.len() + 1]; theirs.len() + 1];
    for i in (0..theirs.len()).rev() {
        for j in (0..ours.len()).rev() {
            common[i][j] =
                if theirs[i] == ours[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = String::new();
    let mut last_heading = "";
    while i < theirs.len() || j < ours.len() {
        if i < theirs.len() && j < ours.len() && theirs[i] == ours[j] {
            if !theirs[i].starts_with("  ") {
                last_heading = theirs[i];
            }
            i += 1;
            j += 1;
            continue;
        }
        if !last_heading.is_empty() {
            writeln!(out, "    {last_heading}").expect("a string");
            last_heading = "";
        }
        if j >= ours.len() || (i < theirs.len() && common[i + 1][j] >= common[i][j + 1]) {
            writeln!(out, "  - {}", theirs[i]).expect("a string");
            i += 1;
        } else {
            writeln!(out, "  + {}", ours[j]).expect("a string");
            j += 1;
        }
    }
    out
}
