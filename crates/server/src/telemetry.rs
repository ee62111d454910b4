//! Logs on stderr.

use tracing_subscriber::EnvFilter;

use crate::cli::{LogFormat, Telemetry};
use crate::config::Settings;

/// For commands that have no settings of a node.
pub(crate) fn init(options: &Telemetry) {
    init_from(options, &Settings::default());
}

/// Flags are above the settings.
pub(crate) fn init_from(options: &Telemetry, settings: &Settings) {
    let filter = options.log_level.map_or_else(|| settings.string("telemetry.log-filter"), |level| level.name());
    let format = options.log_format.unwrap_or_else(|| LogFormat::named(&settings.string("telemetry.log-format")));
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(EnvFilter::new(full(&filter)));
    // A second call (in tests) keeps the first subscriber.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Pretty => builder.pretty().try_init(),
    };
}

/// A level stands for a filter that leaves out the chatter of libraries.
fn full(filter: &str) -> String {
    match filter {
        "never" => "off".to_owned(),
        "debug" => "debug,h2=info,hyper=info,openraft=info,tower=info".to_owned(),
        // openraft reports every ordinary step of an election as a warning or an error.
        "info" | "warn" | "error" => format!("{filter},openraft=off"),
        other => other.to_owned(),
    }
}

/// # Errors
/// Says which directive of the filter makes no sense.
pub(crate) fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(full(filter)).map(drop).map_err(|error| error.to_string())
}
