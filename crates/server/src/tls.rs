//! TLS for the three ports, and for dialling other nodes: rustls with one provider, at
//! least TLS 1.2. A layer above `base::Net`, so that simulations never meet it.
//!
//! ```text
//! files ─▶ load ─▶ Loaded ─▶ Port (the current one, for each new connection)
//!   └──── changed? ──▲   a failure keeps the old one and is logged
//! ```

mod certs;
mod explained;
mod load;
mod reload;
mod validity;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use base::{Certified, Io};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub(crate) use certs::{CreateArgs, create};
use explained::Explained;
pub(crate) use explained::Heard;
pub(crate) use load::{LoadError, client, read};
pub(crate) use reload::Reload;
use verify::{CertifiedPeer, Presented};

/// The files of one port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Files {
    /// The certificate of this node, and those between it and its CA.
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// Who must have signed the certificate of the other side. Empty: it need not have one.
    pub(crate) ca: Vec<PathBuf>,
    /// Under which name the certificate must be valid, when that is known.
    pub(crate) host: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Accepts nodes and dials them, both with a certificate.
    Peer,
    /// Accepts clients of the gRPC or admin service.
    Http2,
    /// Accepts clients of the HTTP API.
    Http1,
}

impl Role {
    /// What the other side must offer when it offers anything.
    pub(crate) const fn protocol(self) -> &'static [u8] {
        match self {
            Self::Peer => b"perpetuo-peer",
            Self::Http2 => b"h2",
            Self::Http1 => b"http/1.1",
        }
    }
}

/// What new connections use from now on.
pub(crate) struct Loaded {
    server: Arc<ServerConfig>,
    /// Only for nodes.
    client: Option<Arc<ClientConfig>>,
    /// For the log: which certificate that is, for which names, and until when.
    pub(crate) shown: String,
}

/// A stream after its handshake, and whose it is.
pub(crate) type Certain = (Box<dyn Io>, Option<Arc<dyn Certified>>);

/// The TLS of one port. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Port {
    current: watch::Receiver<Arc<Loaded>>,
}

impl Port {
    /// Loads the files, and again whenever they change, for as long as the second value runs.
    ///
    /// # Errors
    /// Says which file cannot be used, and why.
    pub(crate) fn open(files: Files, role: Role) -> Result<(Self, Reload), LoadError> {
        let (content, loaded) = load::read(&files, role)?;
        let (sender, current) = watch::channel(Arc::new(loaded));
        Ok((Self { current }, Reload::new(files, role, content, sender)))
    }

    /// For the log: which certificate is in use.
    pub(crate) fn shown(&self) -> String {
        self.current.borrow().shown.clone()
    }

    /// The handshake with somebody who has connected.
    ///
    /// # Errors
    /// A sentence for the log, and the stream, on which the other side has been told.
    pub(crate) async fn accept(&self, io: Box<dyn Io>) -> Result<Certain, (String, Box<dyn Io>)> {
        let server = Arc::clone(&self.current.borrow().server);
        let handshake = TlsAcceptor::from(server).accept(io).into_fallible();
        let (accepted, presented) = Presented::watch(handshake).await;
        let stream = accepted.map_err(|(error, io)| (verify::explain(&error, &presented), io))?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certified = certificate.map(|certificate| CertifiedPeer::new(certificate.clone()));
        Ok((Box::new(stream), certified.map(|peer| Arc::new(peer) as Arc<dyn Certified>)))
    }

    /// The handshake with the node at `address`, which must prove that it is that host.
    ///
    /// # Errors
    /// A sentence for the log.
    pub(crate) async fn connect(&self, io: Box<dyn Io>, address: &str) -> Result<Box<dyn Io>, String> {
        let client = self.current.borrow().client.clone().expect("only nodes dial");
        connect(client, io, base::host_of(address), Heard::default()).await
    }
}

/// The handshake with a server that must prove that it is `host`.
///
/// # Errors
/// A sentence for the log.
pub(crate) async fn connect(
    client: Arc<ClientConfig>,
    io: Box<dyn Io>,
    host: &str,
    heard: Heard,
) -> Result<Box<dyn Io>, String> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host:?} is neither a DNS name nor an IP address, no certificate can be for it"))?;
    let (connected, presented) = Presented::watch(TlsConnector::from(client).connect(name, io)).await;
    let io = connected.map_err(|error| verify::explain(&error, &presented))?;
    Ok(Box::new(Explained { io, heard }))
}
