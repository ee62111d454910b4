//! Checks certificates as webpki does, and remembers what was presented, so that a refusal
//! can say which certificate it was about.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::Arc;

use base::Certified;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, DistinguishedName, Error, InvalidMessage,
    SignatureScheme,
};

use super::validity;

/// The certificate that the other side has shown, for the text of a refusal.
#[derive(Clone, Default, Debug)]
pub(super) struct Presented {
    names: Option<String>,
    ca: String,
}

tokio::task_local! {
    /// Certificates are checked inside of the handshake's own task.
    static PRESENTED: RefCell<Presented>;
}

impl Presented {
    /// Runs a handshake; its error comes with what was presented.
    pub(super) async fn watch<T>(handshake: impl Future<Output = T>) -> (T, Self) {
        PRESENTED.scope(RefCell::default(), async { (handshake.await, PRESENTED.with(RefCell::take)) }).await
    }

    fn note(certificate: &CertificateDer<'_>, ca: &str) {
        let presented = Self { names: Some(names(certificate)), ca: ca.to_owned() };
        // Outside of a handshake (a check of our own files) nobody asks.
        let _ = PRESENTED.try_with(|slot| slot.replace(presented));
    }
}

/// For whom a certificate is, as far as that can be read.
pub(super) fn names(certificate: &CertificateDer<'_>) -> String {
    // The list comes with the refusal of a name that nobody has.
    let nobody = ServerName::try_from("nobody.invalid").expect("a name");
    let parsed = match ParsedCertificate::try_from(certificate) {
        Ok(parsed) => parsed,
        Err(_) => return "unreadable".to_owned(),
    };
    match verify_server_name(&parsed, &nobody) {
        Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. })) => {
            let plain = |name: &String| name.split_once('(').map_or(name.as_str(), |(_, rest)| rest).to_owned();
            let names: Vec<_> = presented.iter().map(plain).collect();
            let names = names.iter().map(|name| name.trim_matches([')', '"'])).collect::<Vec<_>>().join(", ");
            if names.is_empty() { "without names".to_owned() } else { format!("for {names}") }
        }
        _ => "without names".to_owned(),
    }
}

/// Whether a certificate is for a host.
pub(super) fn is_for(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(certificate), ServerName::try_from(host)) else {
        return false;
    };
    verify_server_name(&parsed, &name).is_ok()
}

/// Somebody whose certificate was checked.
pub(super) struct CertifiedPeer(CertificateDer<'static>);

impl CertifiedPeer {
    pub(super) fn new(certificate: CertificateDer<'_>) -> Self {
        Self(certificate.into_owned())
    }
}

impl Certified for CertifiedPeer {
    fn is_host(&self, host: &str) -> bool {
        is_for(&self.0, host)
    }

    fn describe(&self) -> String {
        names(&self.0)
    }
}

/// Why a handshake failed, in words.
pub(super) fn explain(error: &io::Error, presented: &Presented) -> String {
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "it hung up".to_owned(),
            _ => error.to_string(),
        };
    };
    match inner {
        Error::NoCertificatesPresented => "it presented no certificate, and one is required".to_owned(),
        Error::InvalidCertificate(problem) => {
            let whose = presented.names.as_deref().map_or_else(String::new, |names| format!(" ({names})"));
            format!("its certificate{whose} {}", complaint(problem, &presented.ca))
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => "it does not speak TLS".to_owned(),
        Error::NoApplicationProtocol => "it does not offer the protocol of this port".to_owned(),
        Error::AlertReceived(alert) => refused_by_the_other(*alert),
        other => other.to_string(),
    }
}

pub(super) fn complaint(problem: &CertificateError, ca: &str) -> String {
    match problem {
        CertificateError::ExpiredContext { not_after, .. } => format!("expired at {}", validity::show(*not_after)),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}", validity::show(*not_before))
        }
        CertificateError::UnknownIssuer => format!("is not signed by a CA in {ca}"),
        CertificateError::NotValidForNameContext { expected, .. } => {
            format!("is not valid for {}", expected.to_str())
        }
        other => format!("cannot be accepted: {other}"),
    }
}

fn refused_by_the_other(alert: AlertDescription) -> String {
    let ours = match alert {
        AlertDescription::UnknownCA => "is not signed by a CA that it trusts",
        AlertDescription::CertificateExpired => "has expired",
        AlertDescription::CertificateRequired => "is missing, and it requires one",
        AlertDescription::BadCertificate => "is not good for it",
        other => return format!("it refused the handshake: {other:?}"),
    };
    format!("it says that the certificate of this side {ours}; its log says more")
}

/// Clients and nodes that connect.
pub(super) struct CheckClients {
    pub(super) inner: Arc<dyn ClientCertVerifier>,
    /// The files with the CAs, for the log.
    pub(super) ca: String,
}

impl fmt::Debug for CheckClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckClients").field("ca", &self.ca).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for CheckClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Presented::note(certificate, &self.ca);
        self.inner.verify_client_cert(certificate, others, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Servers that this process dials.
pub(super) struct CheckServer {
    pub(super) inner: Arc<dyn ServerCertVerifier>,
    pub(super) ca: String,
}

impl fmt::Debug for CheckServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckServer").field("ca", &self.ca).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for CheckServer {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Presented::note(certificate, &self.ca);
        self.inner.verify_server_cert(certificate, others, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
