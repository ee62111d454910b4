//! Where the admin service of a node is, as every operators' command is told.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;

use crate::client::Client;
use crate::tls;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Target {
    /// HOST:PORT of the admin service of any node (`listen.admin`).
    #[arg(
        long,
        alias = "admin-address",
        value_name = "HOST:PORT",
        env = "PERPETUO_ADMIN_ADDRESS",
        default_value = "127.0.0.1:7236"
    )]
    pub(crate) address: String,
    /// File with the CA of the nodes' certificates. Without it: no TLS.
    #[arg(long, value_name = "FILE", env = "PERPETUO_ADMIN_CA")]
    ca: Option<PathBuf>,
    /// File with the operator's certificate.
    #[arg(long, value_name = "FILE", env = "PERPETUO_ADMIN_CERT", requires_all = ["key", "ca"])]
    cert: Option<PathBuf>,
    /// File with its private key.
    #[arg(long, value_name = "FILE", env = "PERPETUO_ADMIN_KEY", requires = "cert")]
    key: Option<PathBuf>,
}

impl Target {
    /// A node of a cluster on this machine.
    pub(crate) fn plain(address: &str) -> Self {
        Self { address: address.to_owned(), ca: None, cert: None, key: None }
    }

    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let own = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((cert.as_path(), key.as_path())),
            (None, None) => None,
            _ => bail!("--cert and --key go together"),
        };
        match &self.ca {
            None => Client::lazy(&self.address),
            Some(ca) => Client::over_tls(&self.address, Arc::clone(&tls::client(ca, own)?)),
        }
    }
}
