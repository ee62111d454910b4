//! The language of the scenarios. A script file holds
//!
//! ```text
//! let NAME(a, b)              a fragment: `@NAME(x, y)` in a request stands for its text
//!   text with {a} and {b}
//! macro NAME                  steps that `NAME rest of line` stands for; {*} is the rest
//!   step
//! scenario AREA/NAME {v}      what is compared, once for each value of its variables
//! for v in one two key=value
//! for v in
//!   | key = a value with spaces
//!   step
//!     its continuation
//! ```
//!
//! `\@` is a plain `@`. A step is `[reply =] [quiet] [full] [start] [within 2s] [as name/version] Rpc text + text ! field`,
//! where the texts are protobuf text format, merged from left to right, and the fields
//! are cleared at the end; or `wait 1500ms`, `until EVENT_TYPE [count] [of ID]`, `join reply`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// One thing to do, with its macros expanded and its request still as text.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The line of the scenario that this step comes from, shown before its first step.
    pub(crate) heading: Option<String>,
    /// Where the reply is kept for later steps.
    pub(crate) reply: Option<String>,
    /// Shows only whether it worked.
    pub(crate) quiet: bool,
    /// Shows events with all their attributes.
    pub(crate) full: bool,
    /// Goes on without waiting for the reply; `join` shows it.
    pub(crate) background: bool,
    pub(crate) within: Option<Duration>,
    /// Client name and version sent along.
    pub(crate) client: Option<(String, String)>,
    pub(crate) action: Action,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Call { rpc: String, request: String },
    Wait(Duration),
    Until { event: String, count: usize, workflow: String },
    Join(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) area: String,
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

struct Fragment {
    parameters: Vec<String>,
    text: String,
}

#[derive(Default)]
pub(crate) struct Library {
    fragments: BTreeMap<String, Fragment>,
    macros: BTreeMap<String, Vec<String>>,
}

/// One unindented line and the indented ones below it.
struct Block {
    head: String,
    lines: Vec<String>,
}

/// All scenarios of a directory; `common.txt` holds what the other files share.
pub(crate) fn load(directory: &Path) -> Vec<Scenario> {
    let mut library = Library::default();
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).expect("the scripts").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let area = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a script");
        files.push((area, blocks(&text)));
    }
    let mut scenarios = Vec::new();
    let mut blocks: Vec<(String, Block)> = files
        .into_iter()
        .flat_map(|(area, blocks)| blocks.into_iter().map(move |block| (area.clone(), block)))
        .collect();
    // Scenarios last, so that they may use what is told below them.
    blocks.sort_by_key(|(_, block)| block.head.starts_with("scenario"));
    for (area, block) in blocks {
        library.read(&area, block, &mut scenarios);
    }
    scenarios
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in text.lines() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        if !line.starts_with(' ') && !line.starts_with("for ") {
            blocks.push(Block { head: line.trim().to_owned(), lines: Vec::new() });
            continue;
        }
        let block = blocks.last_mut().unwrap_or_else(|| panic!("nothing above {line:?}"));
        match line.strip_prefix("    ") {
            Some(rest) if !block.lines.is_empty() && !rest.trim().starts_with('|') => {
                let last = block.lines.last_mut().expect("a line");
                last.push(' ');
                last.push_str(rest.trim());
            }
            _ => block.lines.push(line.trim().to_owned()),
        }
    }
    blocks
}

impl Library {
    fn read(&mut self, area: &str, block: Block, scenarios: &mut Vec<Scenario>) {
        let (kind, head) = block.head.split_once(' ').unwrap_or_else(|| panic!("{:?} has no name", block.head));
        match kind {
            "let" => {
                let (name, parameters) = head.split_once('(').unwrap_or((head, ")"));
                let parameters = parameters.trim_end_matches(')').split(',').map(|name| name.trim().to_owned());
                let parameters = parameters.filter(|name| !name.is_empty()).collect();
                let fragment = Fragment { parameters, text: block.lines.join(" ") };
                assert!(self.fragments.insert(name.trim().to_owned(), fragment).is_none(), "two fragments {name}");
            }
            "macro" => {
                assert!(self.macros.insert(head.to_owned(), block.lines).is_none(), "two macros {head}");
            }
            "scenario" => self.scenario(area, head, &block.lines, scenarios),
            _ => panic!("{kind:?} is none of let, macro, scenario"),
        }
    }

    fn scenario(&self, area: &str, head: &str, lines: &[String], scenarios: &mut Vec<Scenario>) {
        let mut variants: Vec<(String, Vec<(String, String)>)> = vec![(head.to_owned(), Vec::new())];
        let mut body = Vec::new();
        let mut lines = lines.iter().peekable();
        while let Some(line) = lines.next() {
            let Some(values) = line.strip_prefix("for ") else {
                body.push(line.clone());
                continue;
            };
            let (variable, values) = values.split_once(" in").unwrap_or_else(|| panic!("{line:?}"));
            let mut pairs: Vec<(String, String)> = values
                .split_whitespace()
                .map(|value| value.split_once('=').unwrap_or((value, value)))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            while let Some(row) = lines.peek().and_then(|line| line.strip_prefix('|')) {
                let (key, value) = row.split_once('=').unwrap_or((row, ""));
                pairs.push((key.trim().to_owned(), value.trim().to_owned()));
                lines.next();
            }
            variants = variants
                .into_iter()
                .flat_map(|(name, bound)| {
                    let pairs = pairs.clone();
                    pairs.into_iter().map(move |(key, value)| {
                        let mut bound = bound.clone();
                        bound.push((variable.to_owned(), value));
                        (name.replace(&format!("{{{variable}}}"), &key), bound)
                    })
                })
                .collect();
        }
        for (name, bound) in variants {
            let lines: Vec<String> = body.iter().map(|line| substitute(line, &bound)).collect();
            let mut steps = Vec::new();
            for line in &lines {
                let first = steps.len();
                self.steps(line, &Prefix::default(), &mut steps, 0);
                if let Some(step) = steps.get_mut(first) {
                    step.heading = Some(line.clone());
                }
            }
            assert!(
                scenarios.iter().all(|other| other.area != area || other.name != name),
                "two scenarios {area}/{name}"
            );
            scenarios.push(Scenario { area: area.to_owned(), name, steps });
        }
    }

    fn steps(&self, line: &str, outer: &Prefix, steps: &mut Vec<Step>, depth: usize) {
        assert!(depth < 8, "macros go too deep at {line:?}");
        let (prefix, verb, rest) = Prefix::read(line, outer);
        if let Some(body) = self.macros.get(verb) {
            for line in body {
                self.steps(&line.replace("{*}", rest), &prefix.inner(), steps, depth + 1);
            }
            return;
        }
        let words: Vec<&str> = rest.split_whitespace().collect();
        let action = match verb {
            "wait" => Action::Wait(duration(rest)),
            "join" => Action::Join(rest.to_owned()),
            "until" => Action::Until {
                event: words[0].to_owned(),
                count: words.get(1).and_then(|word| word.parse().ok()).unwrap_or(1),
                workflow: words
                    .iter()
                    .position(|word| *word == "of")
                    .map_or_else(|| "$w".to_owned(), |at| words[at + 1].to_owned()),
            },
            _ => {
                assert!(verb.starts_with(char::is_uppercase), "{verb:?} is no step: {line:?}");
                Action::Call { rpc: verb.to_owned(), request: self.expand(rest, 0) }
            }
        };
        steps.push(prefix.step(action));
    }

    /// Puts the text of fragments where they are named.
    fn expand(&self, text: &str, depth: usize) -> String {
        assert!(depth < 16, "fragments go too deep at {text:?}");
        let mut expanded = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('@') {
            let (before, named) = (&rest[..at], &rest[at + 1..]);
            if let Some(before) = before.strip_suffix('\\') {
                expanded.push_str(before);
                expanded.push('@');
                rest = named;
                continue;
            }
            let end = named.find(|c: char| !c.is_alphanumeric() && c != '-').unwrap_or(named.len());
            let Some(fragment) = self.fragments.get(&named[..end]) else {
                panic!("no fragment {:?} in {text:?}", &named[..end]);
            };
            expanded.push_str(before);
            let (arguments, after) = arguments(&named[end..]);
            let bound: Vec<(String, String)> = fragment
                .parameters
                .iter()
                .enumerate()
                .map(|(at, name)| (name.clone(), arguments.get(at).cloned().unwrap_or_default()))
                .collect();
            expanded.push_str(&self.expand(&substitute(&fragment.text, &bound), depth + 1));
            rest = after;
        }
        expanded.push_str(rest);
        expanded
    }
}

#[derive(Clone, Default)]
struct Prefix {
    reply: Option<String>,
    quiet: bool,
    full: bool,
    background: bool,
    within: Option<Duration>,
    client: Option<(String, String)>,
}

impl Prefix {
    fn read<'a>(line: &'a str, outer: &Self) -> (Self, &'a str, &'a str) {
        let mut prefix = outer.clone();
        let mut rest = line.trim();
        loop {
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            let after = after.trim_start();
            match word {
                "quiet" => prefix.quiet = true,
                "full" => prefix.full = true,
                "start" if after.starts_with(char::is_uppercase) => prefix.background = true,
                "within" | "as" => {
                    let (value, after) = after.split_once(' ').expect("something follows");
                    if word == "within" {
                        prefix.within = Some(duration(value));
                    } else {
                        let (name, version) = value.split_once('/').expect("name/version");
                        prefix.client = Some((name.to_owned(), version.to_owned()));
                    }
                    rest = after.trim_start();
                    continue;
                }
                _ => match after.strip_prefix("= ") {
                    Some(after) => {
                        prefix.reply = Some(word.to_owned());
                        rest = after.trim_start();
                        continue;
                    }
                    None => return (prefix, word, after.trim()),
                },
            }
            rest = after;
        }
    }

    /// What the steps of a macro take over from the line that names it.
    fn inner(&self) -> Self {
        self.clone()
    }

    fn step(self, action: Action) -> Step {
        let Self { reply, quiet, full, background, within, client } = self;
        Step { heading: None, reply, quiet, full, background, within, client, action }
    }
}

fn substitute(text: &str, bound: &[(String, String)]) -> String {
    bound.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// `(a, b{c, d}) rest` -> [a, b{c, d}] and the rest.
fn arguments(text: &str) -> (Vec<String>, &str) {
    if !text.starts_with('(') {
        return (Vec::new(), text);
    }
    let mut arguments = vec![String::new()];
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth -= 1,
            _ => {}
        }
        match (c, depth) {
            (')', 0) => {
                let arguments = arguments.into_iter().map(|text: String| text.trim().to_owned()).collect();
                return (arguments, &text[at + 1..]);
            }
            ('(', 1) if at == 0 => {}
            (',', 1) => arguments.push(String::new()),
            _ => arguments.last_mut().expect("one").push(c),
        }
    }
    panic!("no end of the arguments: {text:?}");
}

fn duration(text: &str) -> Duration {
    let text = text.trim();
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').unwrap_or_else(|| panic!("{text:?} is no duration")), 1000),
    };
    let number: f64 = number.parse().unwrap_or_else(|_| panic!("{text:?} is no duration"));
    Duration::from_secs_f64(number * f64::from(unit) / 1000.0)
}
