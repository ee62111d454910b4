//! A flag for every setting: `--section.key VALUE`. Made from the table, so that none can
//! be forgotten.

use clap::{Arg, ArgMatches, Command};

use super::keys::KEYS;
use super::settings::Settings;

/// The settings that were given on the command line, as `(key, text)`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags(Vec<(&'static str, String)>);

impl Flags {
    pub(crate) fn apply(&self, settings: &mut Settings) {
        for (key, text) in &self.0 {
            settings.flag(key, text, &format!("--{key}"));
        }
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        KEYS.iter().fold(command, |command, key| {
            let sentence = key.doc.split_once(". ").map_or(key.doc, |(first, _)| first).trim_end_matches('.');
            let help = match key.default {
                "" => sentence.to_owned(),
                default => format!("{sentence} [default: {default}]"),
            };
            command.arg(
                Arg::new(key.name)
                    .long(key.name)
                    .value_name(key.kind.placeholder())
                    .help(help)
                    .help_heading("Settings (above the environment, which is above the file; see docs/config.md)"),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |key: &'static str| matches.get_one::<String>(key).map(|text| (key, text.clone()));
        Ok(Self(KEYS.iter().filter_map(|key| given(key.name)).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
