//! Logs on stderr.

use tracing_subscriber::EnvFilter;

use crate::cli::{LogFormat, LogLevel, Telemetry};

pub(crate) fn init(options: &Telemetry) {
    let filter = match options.log_level {
        LogLevel::Never => "off".to_owned(),
        LogLevel::Debug => "debug,h2=info,hyper=info,openraft=info,tower=info".to_owned(),
        // openraft reports every ordinary step of an election as a warning or an error.
        LogLevel::Info => "info,openraft=off".to_owned(),
        LogLevel::Warn => "warn,openraft=off".to_owned(),
        LogLevel::Error => "error,openraft=off".to_owned(),
    };
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(EnvFilter::new(filter));
    // A second call (in tests) keeps the first subscriber.
    let _ = match options.log_format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Pretty => builder.pretty().try_init(),
    };
}
