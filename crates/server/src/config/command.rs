//! `perpetuo config check` and `perpetuo config show`: what would be in force, without
//! starting anything.

use std::path::PathBuf;

use super::keys::{KEYS, SECTIONS};
use super::settings::Origin;
use super::{Config, Flags, Profile, Settings, Sources};
use crate::output;
use crate::tls::{self, Role};

#[derive(clap::Args, Debug)]
pub(crate) struct CheckArgs {
    /// The configuration file. The environment counts, as it does for `server run`.
    file: PathBuf,
    #[command(flatten)]
    flags: Flags,
}

#[derive(clap::Args, Debug)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    sources: Sources,
    /// Say where each value comes from.
    #[arg(long)]
    origin: bool,
}

pub(crate) fn check(args: CheckArgs) -> anyhow::Result<()> {
    let shown = args.file.display().to_string();
    let sources = Sources { config: Some(args.file), flags: args.flags };
    let config = Config::of(sources.settings(), Profile::Cluster)?;
    for (files, role) in
        [(&config.tls.frontend, Role::Http2), (&config.tls.admin, Role::Http2), (&config.tls.peer, Role::Peer)]
    {
        if let Some(files) = files {
            tls::read(files, role)?;
        }
    }
    output::line(&format!(
        "{shown} is valid: node {} of cluster {:?}, {} member(s), {} shards",
        config.options.node,
        config.options.cluster_id,
        config.options.members.len(),
        config.options.shards
    ));
    Ok(())
}

pub(crate) fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let mut settings = args.sources.settings();
    settings.check()?;
    output::line(as_toml(&settings, args.origin).trim_end());
    Ok(())
}

/// All settings as a file that would give the same.
pub(crate) fn as_toml(settings: &Settings, with_origin: bool) -> String {
    let mut text = String::new();
    for (section, _) in SECTIONS {
        text += &format!("[{section}]\n");
        for key in KEYS {
            let Some((of, name)) = key.name.rsplit_once('.') else { continue };
            if of != *section {
                continue;
            }
            let setting = settings.get(key.name);
            let line = match &setting.value {
                Some(value) => format!("{name} = {value}"),
                None => format!("# {name} is not set"),
            };
            text += &match (&setting.origin, with_origin) {
                (_, false) => format!("{line}\n"),
                (Origin::Default, true) => format!("{line:<40} # default\n"),
                (origin, true) => format!("{line:<40} # from {origin}\n"),
            };
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}
