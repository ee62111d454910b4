//! The settings of this crate. Every bound of the public API is here.

use std::time::Duration;

/// Passed by value at start; [`Config::validate`] once before.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The id of the cluster, shown by `GetClusterInfo`.
    pub cluster_id: String,
    /// The name of the cluster, the only one in every namespace's replication config.
    /// Default `active`, as in the official server.
    pub cluster_name: String,
    /// What holds the data, shown by `GetClusterInfo`. Default `perpetuo`.
    pub persistence_store: String,
    /// The deadline of a call that brings none. Default 10 s.
    pub call_timeout_default: Duration,
    /// The longest a call may take, whatever deadline it brings. Default 5 min.
    pub call_timeout_max: Duration,
    /// A worker must allow its polls at least this long. Default 2 s.
    pub poll_timeout_min: Duration,
    /// The shortest retention of closed workflows. Default 1 h.
    pub retention_min: Duration,
    /// Connections served at once; more are closed at once. Default 10 000.
    pub connections_max: usize,
    /// Calls at once on one connection; every parked poll is one. Default 10 000.
    pub streams_per_connection_max: u32,
    /// A connection is asked to close after this long, so that clients spread over the
    /// nodes again. Default 5 min.
    pub connection_age_max: Duration,
    /// What calls get to finish on a connection that was asked to close. Default 70 s.
    pub connection_age_grace: Duration,
    /// A silent connection is pinged after this long. Default 1 min.
    pub keepalive_interval: Duration,
    /// It is closed when the ping is not answered for this long. Default 10 s.
    pub keepalive_timeout: Duration,
    /// What calls get to finish when the server stops. Default 1.5 s.
    pub shutdown_grace: Duration,
    /// Where completion callbacks may go. Default nowhere.
    pub callback_addresses: Vec<CallbackAddress>,
    pub limits: Limits,
}

/// Addresses that completion callbacks may go to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallbackAddress {
    /// `host` or `host:port` as the URL has it; `*` stands for any number of characters.
    pub pattern: String,
    /// Whether `http` will do as well as `https`.
    pub allow_insecure: bool,
}

/// What requests may contain (`protocol.md` 2.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// One gRPC message. SDKs count on exactly this number. Default 4 MiB.
    pub request_bytes_max: usize,
    /// Ids and names of every kind. Default 1000.
    pub id_bytes_max: usize,
    /// One payload field. Default 2 MiB.
    pub blob_bytes_max: usize,
    /// What remains of a failure that is larger than a blob may be. Default 512 KiB.
    pub failure_bytes_kept: usize,
    /// The memo of a start. Default 2 MiB.
    pub memo_bytes_max: usize,
    /// Links of one request. Default 10.
    pub links_max: usize,
    /// One link. Default 4000.
    pub link_bytes_max: usize,
    /// Search attributes of one request. Default 100.
    pub search_attributes_max: usize,
    /// One search attribute. Default 2 KiB.
    pub search_attribute_bytes_max: usize,
    /// All search attributes of one request. Default 40 KiB.
    pub search_attributes_bytes_max: usize,
    /// A worker's build id. Default 255.
    pub build_id_bytes_max: usize,
    /// Fairness weights that operators set for one task queue. Default 1000.
    pub fairness_overrides_max: usize,
    /// Events on one page of history. Default 256.
    pub history_page_events_max: i32,
    /// Namespaces on one page. Default 1000.
    pub namespace_page_max: usize,
    /// Build ids that a namespace may mark as bad. Default 10.
    pub bad_binaries_max: usize,
    /// Completion callbacks of one request. Default 2000.
    pub callbacks_max: usize,
    /// The URL of a completion callback. Default 1000.
    pub callback_url_bytes_max: usize,
    /// The header of a completion callback. Default 8 KiB.
    pub callback_header_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cluster_id: String::new(),
            cluster_name: "active".to_owned(),
            persistence_store: "perpetuo".to_owned(),
            call_timeout_default: Duration::from_secs(10),
            call_timeout_max: Duration::from_secs(5 * 60),
            poll_timeout_min: Duration::from_secs(2),
            retention_min: Duration::from_secs(60 * 60),
            connections_max: 10_000,
            streams_per_connection_max: 10_000,
            connection_age_max: Duration::from_secs(5 * 60),
            connection_age_grace: Duration::from_secs(70),
            keepalive_interval: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(10),
            shutdown_grace: Duration::from_millis(1500),
            callback_addresses: Vec::new(),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes_max: 4 << 20,
            id_bytes_max: 1000,
            blob_bytes_max: 2 << 20,
            failure_bytes_kept: 512 << 10,
            memo_bytes_max: 2 << 20,
            links_max: 10,
            link_bytes_max: 4000,
            search_attributes_max: 100,
            search_attribute_bytes_max: 2 << 10,
            search_attributes_bytes_max: 40 << 10,
            build_id_bytes_max: 255,
            fairness_overrides_max: 1000,
            history_page_events_max: 256,
            namespace_page_max: 1000,
            bad_binaries_max: 10,
            callbacks_max: 2000,
            callback_url_bytes_max: 1000,
            callback_header_bytes_max: 8 << 10,
        }
    }
}

/// A setting that cannot work.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("frontend.{field}: {problem}")]
pub struct ConfigError {
    pub field: &'static str,
    pub problem: &'static str,
}

impl Config {
    /// # Errors
    /// Names the first setting that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let durations = [
            ("call_timeout_default", self.call_timeout_default),
            ("call_timeout_max", self.call_timeout_max),
            ("poll_timeout_min", self.poll_timeout_min),
            ("connection_age_max", self.connection_age_max),
            ("keepalive_interval", self.keepalive_interval),
            ("keepalive_timeout", self.keepalive_timeout),
        ];
        for (field, duration) in durations {
            if duration.is_zero() {
                return Err(ConfigError { field, problem: "must be longer than zero" });
            }
        }
        let counts = [
            ("connections_max", self.connections_max),
            ("limits.request_bytes_max", self.limits.request_bytes_max),
            ("limits.id_bytes_max", self.limits.id_bytes_max),
            ("limits.blob_bytes_max", self.limits.blob_bytes_max),
            ("limits.namespace_page_max", self.limits.namespace_page_max),
        ];
        for (field, count) in counts {
            if count == 0 {
                return Err(ConfigError { field, problem: "must be at least 1" });
            }
        }
        if self.call_timeout_max < self.call_timeout_default {
            return Err(ConfigError { field: "call_timeout_max", problem: "is below call_timeout_default" });
        }
        if self.streams_per_connection_max == 0 {
            return Err(ConfigError { field: "streams_per_connection_max", problem: "must be at least 1" });
        }
        if self.cluster_name.is_empty() {
            return Err(ConfigError { field: "cluster_name", problem: "must not be empty" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_zeroes_are_not() {
        assert_eq!(Config::default().validate(), Ok(()));
        let broken = Config { connections_max: 0, ..Config::default() };
        assert_eq!(broken.validate().expect_err("refused").field, "connections_max");
        let broken = Config { call_timeout_max: Duration::from_secs(1), ..Config::default() };
        assert_eq!(broken.validate().expect_err("refused").field, "call_timeout_max");
    }
}
