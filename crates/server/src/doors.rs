//! The ports of a node: each with its door, and with TLS where there are files for it.

use std::time::Duration;

use anyhow::Context as _;
use base::{Io, Listener, Net, TcpNet};
use tokio::task::JoinSet;

use crate::config::Config;
use crate::door::{Door, DoorConfig, Protocol};
use crate::tls::{self, Files, Port, Role};

type BoxFuture<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;

/// Other nodes and operators are few.
const FEW: usize = 256;

/// Opens ports. Certificates are looked at again for as long as it lives.
pub(crate) struct Doors {
    refresh_interval: Duration,
    connections_max: usize,
    connections_per_address_max: usize,
    reloads: JoinSet<()>,
}

impl Doors {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            refresh_interval: config.tls.refresh_interval,
            connections_max: config.options.frontend.connections_max,
            connections_per_address_max: config.connections_per_address_max,
            reloads: JoinSet::new(),
        }
    }

    /// A port for clients.
    pub(crate) async fn client(
        &mut self,
        port: &'static str,
        protocol: Protocol,
        address: &str,
        files: Option<Files>,
    ) -> anyhow::Result<Box<dyn Listener>> {
        let (connections_max, per_address) = (self.connections_max, self.connections_per_address_max);
        self.open((port, protocol), address, files, (connections_max, per_address)).await
    }

    /// The port for operators.
    pub(crate) async fn admin(&mut self, address: &str, files: Option<Files>) -> anyhow::Result<Box<dyn Listener>> {
        self.open(("admin", Protocol::Http2), address, files, (FEW, FEW)).await
    }

    async fn open(
        &mut self,
        (port, protocol): (&'static str, Protocol),
        address: &str,
        files: Option<Files>,
        (connections_max, connections_per_address_max): (usize, usize),
    ) -> anyhow::Result<Box<dyn Listener>> {
        let role = if protocol == Protocol::Http1 { Role::Http1 } else { Role::Http2 };
        let tls = self.tls(port, role, files)?;
        let listener = TcpNet
            .listen(address)
            .await
            .with_context(|| format!("cannot listen on {address} (is another server running there?)"))?;
        let config = DoorConfig { port, protocol, tls, connections_max, connections_per_address_max };
        Ok(Box::new(Door::new(listener, config)))
    }

    /// The network on which the node meets others.
    pub(crate) fn net(&mut self, files: Option<Files>) -> anyhow::Result<PeerNet> {
        Ok(PeerNet { tls: self.tls("peer", Role::Peer, files)? })
    }

    fn tls(&mut self, port: &'static str, role: Role, files: Option<Files>) -> Result<Option<Port>, tls::LoadError> {
        let Some(files) = files else { return Ok(None) };
        let (tls, reload) = Port::open(files, role)?;
        tracing::info!(port, certificate = tls.shown(), "TLS");
        self.reloads.spawn(reload.run(self.refresh_interval));
        Ok(Some(tls))
    }
}

/// TCP, and TLS over it when there are certificates.
pub(crate) struct PeerNet {
    tls: Option<Port>,
}

impl Net for PeerNet {
    fn listen(&self, address: &str) -> BoxFuture<std::io::Result<Box<dyn Listener>>> {
        let listening = TcpNet.listen(address);
        let config = DoorConfig {
            port: "peer",
            protocol: Protocol::Peer,
            tls: self.tls.clone(),
            connections_max: FEW,
            connections_per_address_max: FEW,
        };
        Box::pin(async move { Ok(Box::new(Door::new(listening.await?, config)) as Box<dyn Listener>) })
    }

    fn connect(&self, address: &str) -> BoxFuture<std::io::Result<Box<dyn Io>>> {
        let (connecting, address, tls) = (TcpNet.connect(address), address.to_owned(), self.tls.clone());
        Box::pin(async move {
            let io = connecting.await?;
            let Some(tls) = tls else { return Ok(io) };
            let refused = |reason| std::io::Error::new(std::io::ErrorKind::InvalidData, reason);
            tls.connect(io, &address).await.map_err(refused)
        })
    }
}
