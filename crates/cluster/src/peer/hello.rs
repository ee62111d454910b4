//! The first frame in each direction: who is there, and whether both belong together.
//! Until it is checked a stranger can make this node keep no more than a few bytes.

use std::io;
use std::time::Duration;

use api::Error;
use api::internal::frame::Body;
use api::internal::{Frame, Hello, JoinRequest};
use base::{Io, Net, NodeId};
use bytes::{Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::Established;
use super::connection::Received;
use super::wire::{Decoder, Lane, WireError, put_chunk};
use crate::formation::Verdict;

/// Bumped when nodes of the new version cannot talk to the old one any more.
pub(crate) const PROTOCOL_VERSION: u32 = 2;

const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
const HELLO_BYTES_MAX: usize = 16 << 10;
/// How long a refused peer has to read why.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(200);

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum HelloError {
    #[error("{0}")]
    Io(String),
    #[error("framing: {0}")]
    Wire(#[from] WireError),
    #[error("no hello in time")]
    Timeout,
    #[error("not a hello")]
    Malformed,
    /// The two do not belong together; the text says why.
    #[error("{0}")]
    Refused(String),
    /// The peer is not of the cluster any more.
    #[error("{0}")]
    TheyAreOutcast(String),
    /// This node is not of the cluster any more.
    #[error("{0}")]
    Outcast(String),
}

impl From<Verdict> for HelloError {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Refused(reason) => Self::Refused(reason),
            Verdict::TheyAreOutcast(reason) => Self::TheyAreOutcast(reason),
            Verdict::Outcast(reason) => Self::Outcast(reason),
        }
    }
}

impl From<io::Error> for HelloError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // TLS: trying again will not help until somebody acts.
            io::ErrorKind::InvalidData => Self::Refused(error.to_string()),
            _ => Self::Io(error.to_string()),
        }
    }
}

/// Introduces this node to the one it has dialled, which must be `node`.
pub(crate) async fn dial(
    mut io: Box<dyn Io>,
    mine: &Hello,
    node: NodeId,
    judge: impl Fn(&Hello) -> Result<(), HelloError>,
) -> Result<Established, HelloError> {
    let exchange = async {
        send(&mut io, Body::Hello(mine.clone())).await?;
        receive(&mut io).await
    };
    let (theirs, received) = timeout(HELLO_TIMEOUT, exchange).await.map_err(|_| HelloError::Timeout)??;
    if theirs.node_id != node.0 {
        return Err(HelloError::Refused(format!("node {} answers at the address of node {node}", theirs.node_id)));
    }
    check(mine, &theirs)?;
    judge(&theirs)?;
    Ok(Established { io, received, node, incarnation: theirs.incarnation })
}

/// Who knocks.
pub(crate) enum Knock {
    Peer(Established),
    /// A node that is not of the cluster yet, which waits for [`answer`].
    Joiner(Box<dyn Io>, JoinRequest),
}

/// Lets a node in that may dial and that passes the judgement.
pub(crate) async fn accept(
    mut io: Box<dyn Io>,
    introduce: impl Fn(NodeId) -> Hello,
    expects: impl Fn(NodeId) -> Result<(), HelloError>,
    judge: impl Fn(&Hello) -> Result<(), HelloError>,
) -> Result<Knock, HelloError> {
    let (first, received) = timeout(HELLO_TIMEOUT, receive_any(&mut io)).await.map_err(|_| HelloError::Timeout)??;
    let theirs = match first {
        Body::Join(request) => return Ok(Knock::Joiner(io, request)),
        other => expect_hello(other)?,
    };
    let node = NodeId(theirs.node_id);
    let mine = introduce(node);
    let checked = check(&mine, &theirs).and_then(|()| expects(node)).and_then(|()| judge(&theirs));
    match checked {
        Ok(()) => {
            timeout(HELLO_TIMEOUT, send(&mut io, Body::Hello(mine))).await.map_err(|_| HelloError::Timeout)??;
            Ok(Knock::Peer(Established { io, received, node, incarnation: theirs.incarnation }))
        }
        Err(refused) => {
            let error = match &refused {
                HelloError::TheyAreOutcast(reason) => Error::FailedPrecondition(reason.clone()),
                refused => Error::PermissionDenied(refused.to_string()),
            };
            answer(io, Body::Error(error.into())).await;
            Err(refused)
        }
    }
}

/// The last word to whom this node does not go on to talk to.
pub(crate) async fn answer(mut io: Box<dyn Io>, body: Body) {
    let answer = async {
        send(&mut io, body).await?;
        // Closing with unread input resets the stream, and the answer is lost.
        io.shutdown().await?;
        io.read_buf(&mut BytesMut::with_capacity(64)).await
    };
    // The peer is a stranger: whether it reads the answer is its own business.
    let _: Result<io::Result<usize>, _> = timeout(REFUSAL_TIMEOUT, answer).await;
}

/// One question to a node of which nothing is known but its address.
pub(crate) async fn ask(net: &dyn Net, address: &str, question: Body) -> Result<Body, HelloError> {
    let mut io = net.connect(address).await?;
    send(&mut io, question).await?;
    Ok(receive_any(&mut io).await?.0)
}

fn check(mine: &Hello, theirs: &Hello) -> Result<(), HelloError> {
    let refused = if theirs.protocol_version != mine.protocol_version {
        format!(
            "node {} speaks version {} of the protocol, this node version {}",
            theirs.node_id, theirs.protocol_version, mine.protocol_version
        )
    } else if theirs.cluster_id != mine.cluster_id {
        format!(
            "node {} belongs to cluster {:?}, this node to {:?}",
            theirs.node_id, theirs.cluster_id, mine.cluster_id
        )
    } else if theirs.shards != mine.shards {
        format!("node {} is configured with {} shards, this node with {}", theirs.node_id, theirs.shards, mine.shards)
    } else {
        return Ok(());
    };
    Err(HelloError::Refused(refused))
}

async fn send(io: &mut Box<dyn Io>, body: Body) -> io::Result<()> {
    let mut frame = Bytes::from(Frame { body: Some(body), ..Frame::default() }.encode_to_vec());
    let mut out = BytesMut::new();
    while !put_chunk(&mut out, Lane::Urgent, &mut frame) {}
    io.write_all(&out).await?;
    io.flush().await
}

async fn receive(io: &mut Box<dyn Io>) -> Result<(Hello, Received), HelloError> {
    let (body, received) = receive_any(io).await?;
    Ok((expect_hello(body)?, received))
}

fn expect_hello(body: Body) -> Result<Hello, HelloError> {
    match body {
        Body::Hello(hello) => Ok(hello),
        Body::Error(error) => Err(match Error::from(error) {
            Error::FailedPrecondition(reason) => HelloError::Outcast(reason),
            error => HelloError::Refused(error.to_string()),
        }),
        _ => Err(HelloError::Malformed),
    }
}

async fn receive_any(io: &mut Box<dyn Io>) -> Result<(Body, Received), HelloError> {
    let mut received = Received { input: BytesMut::new(), decoder: Decoder::new(HELLO_BYTES_MAX) };
    let frame = loop {
        if let Some(frame) = received.decoder.decode(&mut received.input)? {
            break frame;
        }
        if io.read_buf(&mut received.input).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    };
    let body = Frame::decode(frame).map_err(|_| HelloError::Malformed)?.body;
    Ok((body.ok_or(HelloError::Malformed)?, received))
}
