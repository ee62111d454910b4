//! The door of a port: who has connected must introduce himself (TLS where there is any,
//! then the first bytes of the port's protocol) before the server spends more than a few
//! bytes on him, and connections are bounded in all and per address.
//!
//! ```text
//! accepted ─▶ knocking: TLS? ─▶ first bytes ─▶ let in ─▶ gone
//!    │           └ silent too long, or the longest silent when too many knock: closed
//!    └ too many connections: closed
//! ```
//! One door for the three ports; a stranger is told what the port speaks, and the log who
//! was refused and why.

mod guest;
mod ledger;
mod refusal;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{Accepted, Io, Listener};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::tls;
use guest::Guest;
use ledger::{Ledger, Ticket};
use refusal::{Refusal, Refusals};

type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How long somebody may take to introduce himself.
const INTRODUCTION_MAX: Duration = Duration::from_secs(5);
/// How long a refused one has to read why.
const REFUSAL_MAX: Duration = Duration::from_millis(200);

/// What a port speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    /// gRPC.
    Http2,
    /// The HTTP API.
    Http1,
    /// The frames of the cluster's own nodes.
    Peer,
}

#[derive(Clone)]
pub(crate) struct DoorConfig {
    /// For the log.
    pub(crate) port: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Option<tls::Port>,
    pub(crate) connections_max: usize,
    pub(crate) connections_per_address_max: usize,
}

pub(crate) struct Door {
    listener: Box<dyn Listener>,
    config: Arc<DoorConfig>,
    ledger: Arc<Ledger>,
    refusals: Arc<Refusals>,
    knocking: JoinSet<Option<Accepted>>,
}

impl Door {
    pub(crate) fn new(listener: Box<dyn Listener>, config: DoorConfig) -> Self {
        Self {
            listener,
            ledger: Ledger::new(config.connections_max, config.connections_per_address_max),
            refusals: Arc::new(Refusals::new(config.port)),
            config: Arc::new(config),
            knocking: JoinSet::new(),
        }
    }

    fn knock(&mut self, accepted: Accepted) {
        let Accepted { io, address, .. } = accepted;
        let ticket = match self.ledger.enter(address.ip()) {
            Ok(ticket) => ticket,
            Err(reason) => return self.refusals.log(address, reason),
        };
        let id = ticket.id();
        let introduced = introduce(io, address, ticket, Arc::clone(&self.config), Arc::clone(&self.refusals));
        let handle = self.knocking.spawn(introduced);
        if self.ledger.knocks(id, handle) {
            self.refusals.log(address, "too many that say nothing: the one that was silent longest is closed");
        }
    }
}

impl Listener for Door {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Can be dropped at any point: who knocks goes on knocking.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async {
            loop {
                tokio::select! {
                    biased;
                    Some(introduced) = self.knocking.join_next() => {
                        // A task that was aborted, or refused its guest, has nothing to give.
                        if let Ok(Some(accepted)) = introduced {
                            return Ok(accepted);
                        }
                    }
                    accepted = self.listener.accept() => self.knock(accepted?),
                }
            }
        })
    }
}

/// Until it is known who that is.
async fn introduce(
    io: Box<dyn Io>,
    address: SocketAddr,
    ticket: Ticket,
    config: Arc<DoorConfig>,
    refusals: Arc<Refusals>,
) -> Option<Accepted> {
    match timeout(INTRODUCTION_MAX, greet(io, &config)).await {
        Ok(Ok((io, prefix, certified))) => {
            ticket.let_in();
            Some(Accepted { io: Box::new(Guest::new(io, prefix, ticket)), address, certified })
        }
        Ok(Err((refusal, io))) => {
            refusals.log(address, &refusal.to_string());
            if let Some(io) = io {
                // Whether it reads the answer is its own business.
                let _ = timeout(REFUSAL_MAX, answer(io, &refusal)).await;
            }
            None
        }
        Err(_) => {
            refusals.log(address, &Refusal::Silent.to_string());
            None
        }
    }
}

type Greeted = (Box<dyn Io>, Vec<u8>, Option<Arc<dyn base::Certified>>);

async fn greet(io: Box<dyn Io>, config: &DoorConfig) -> Result<Greeted, (Refusal, Option<Box<dyn Io>>)> {
    let (mut io, certified) = match &config.tls {
        None => (io, None),
        Some(tls) => tls.accept(io).await.map_err(|(reason, io)| (Refusal::Tls(reason), Some(io)))?,
    };
    let mut prefix = Vec::with_capacity(refusal::PREFACE.len());
    loop {
        match refusal::judge(config.protocol, &prefix) {
            Ok(true) => return Ok((io, prefix, certified)),
            Ok(false) => {}
            Err(refusal) => return Err((refusal, Some(io))),
        }
        // Never past the preface: what comes after it belongs to the server.
        let mut rest = (&mut io).take((refusal::PREFACE.len() - prefix.len()) as u64);
        match rest.read_buf(&mut prefix).await {
            Ok(0) | Err(_) => return Err((Refusal::Left, None)),
            Ok(_) => {}
        }
    }
}

async fn answer(mut io: Box<dyn Io>, refusal: &Refusal) -> io::Result<()> {
    io.write_all(refusal.answer()).await?;
    io.shutdown().await?;
    // Closing with unread input resets the stream, and the answer is lost.
    let mut rest = [0; 512];
    while io.read(&mut rest).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests;
