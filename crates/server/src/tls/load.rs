//! From PEM files to what rustls works with. Everything that could be wrong with our own
//! side is found here, with the name of the file, before anybody else has to refuse it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DEFAULT_VERSIONS, Error, RootCertStore, ServerConfig};

use super::validity::{Validity, show_seconds};
use super::verify::{CheckClients, CheckServer, complaint, names};
use super::{Files, Loaded, Role};

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("cannot read {}: {reason}", file.display())]
    Read { file: PathBuf, reason: String },
    #[error("{}: no PEM block of a {what}", file.display())]
    Empty { file: PathBuf, what: &'static str },
    #[error("{}: {reason}", file.display())]
    Unusable { file: PathBuf, reason: String },
    #[error("{}: the certificate ({names}) {problem}", file.display())]
    Certificate { file: PathBuf, names: String, problem: String },
    #[error("the key in {} is not that of the certificate in {}", key.display(), cert.display())]
    OtherKey { key: PathBuf, cert: PathBuf },
}

/// The bytes of all files of one port, to notice changes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Content {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<Vec<u8>>,
}

impl Content {
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn read(files: &Files) -> Result<Self, LoadError> {
        let ca = files.ca.iter().map(|file| read_file(file)).collect::<Result<_, _>>()?;
        Ok(Self { cert: read_file(&files.cert)?, key: read_file(&files.key)?, ca })
    }
}

/// # Errors
/// The first thing that is wrong.
pub(crate) fn read(files: &Files, role: Role) -> Result<(Content, Loaded), LoadError> {
    let content = Content::read(files)?;
    let loaded = load(files, role, &content)?;
    Ok((content, loaded))
}

pub(super) fn load(files: &Files, role: Role, content: &Content) -> Result<Loaded, LoadError> {
    let chain = certificates(&files.cert, &content.cert)?;
    let key = key(&files.key, &content.key)?;
    let roots = roots(&files.ca, &content.ca)?;
    let shown = check_own(files, &chain, roots.as_ref())?;
    let other_key = |error: Error| match error {
        Error::InconsistentKeys(_) => LoadError::OtherKey { key: files.key.clone(), cert: files.cert.clone() },
        other => LoadError::Unusable { file: files.cert.clone(), reason: other.to_string() },
    };
    let versions =
        ServerConfig::builder_with_provider(provider()).with_protocol_versions(DEFAULT_VERSIONS).map_err(other_key)?;
    let server = match &roots {
        None => versions.with_no_client_auth(),
        Some(roots) => versions.with_client_cert_verifier(Arc::new(clients(&files.ca, roots)?)),
    };
    let mut server = server.with_single_cert(chain.clone(), key.clone_key()).map_err(other_key)?;
    server.alpn_protocols = vec![role.protocol().to_vec()];
    let client = match (role, &roots) {
        (Role::Peer, Some(roots)) => Some(dialler(&files.ca, roots, Some((chain, key)), role)?),
        _ => None,
    };
    Ok(Loaded { server: Arc::new(server), client: client.map(Arc::new), shown })
}

/// For the operators' commands: trusts the CAs of a file, and shows a certificate when
/// there is one.
pub(crate) fn client(ca: &Path, own: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, LoadError> {
    let files = [ca.to_owned()];
    let roots = roots(&files, &[read_file(ca)?])?.expect("one file");
    let own = match own {
        Some((cert, key_file)) => Some((certificates(cert, &read_file(cert)?)?, key(key_file, &read_file(key_file)?)?)),
        None => None,
    };
    Ok(Arc::new(dialler(&files, &roots, own, Role::Http2)?))
}

/// ring alone, said aloud: two providers in one process would have rustls guess.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn dialler(
    ca: &[PathBuf],
    roots: &Arc<RootCertStore>,
    own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    role: Role,
) -> Result<ClientConfig, LoadError> {
    let unusable = |reason: String| LoadError::Unusable { file: ca.first().cloned().unwrap_or_default(), reason };
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider())
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(DEFAULT_VERSIONS)
        .map_err(|error| unusable(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(CheckServer { inner, ca: list(ca) }));
    let mut client = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| unusable(error.to_string()))?,
    };
    client.alpn_protocols = vec![role.protocol().to_vec()];
    Ok(client)
}

fn clients(ca: &[PathBuf], roots: &Arc<RootCertStore>) -> Result<CheckClients, LoadError> {
    let inner =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider()).build().map_err(|error| {
            LoadError::Unusable { file: ca.first().cloned().unwrap_or_default(), reason: error.to_string() }
        })?;
    Ok(CheckClients { inner, ca: list(ca) })
}

/// A certificate that others will refuse is refused here, where somebody can act.
fn check_own(
    files: &Files,
    chain: &[CertificateDer<'static>],
    roots: Option<&Arc<RootCertStore>>,
) -> Result<String, LoadError> {
    let own = chain.first().ok_or_else(|| empty(&files.cert, "certificate"))?;
    let refuse = |problem: String| LoadError::Certificate { file: files.cert.clone(), names: names(own), problem };
    let validity = Validity::of(own).ok_or_else(|| refuse("cannot be read".to_owned()))?;
    let now = UnixTime::now();
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if seconds > validity.not_after {
        return Err(refuse(format!("expired at {}", show_seconds(validity.not_after))));
    }
    if seconds < validity.not_before {
        return Err(refuse(format!("is not valid before {}", show_seconds(validity.not_before))));
    }
    if let (Some(host), Some(roots)) = (&files.host, roots) {
        let name = ServerName::try_from(host.as_str()).map_err(|_| refuse(format!("cannot be for {host:?}")))?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider())
            .build()
            .map_err(|error| refuse(error.to_string()))?;
        match verifier.verify_server_cert(own, &chain[1..], &name, &[], now) {
            Ok(_) => {}
            Err(Error::InvalidCertificate(problem)) => return Err(refuse(complaint(&problem, &list(&files.ca)))),
            Err(other) => return Err(refuse(other.to_string())),
        }
    }
    Ok(format!("{} ({}, until {})", files.cert.display(), names(own), show_seconds(validity.not_after)))
}

fn roots(files: &[PathBuf], contents: &[Vec<u8>]) -> Result<Option<Arc<RootCertStore>>, LoadError> {
    if files.is_empty() {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    for (file, content) in files.iter().zip(contents) {
        for certificate in certificates(file, content)? {
            let names = names(&certificate);
            roots.add(certificate).map_err(|error| LoadError::Certificate {
                file: file.clone(),
                names,
                problem: format!("cannot be a CA: {error}"),
            })?;
        }
    }
    Ok(Some(Arc::new(roots)))
}

fn certificates(file: &Path, content: &[u8]) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let found = CertificateDer::pem_slice_iter(content)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| LoadError::Unusable { file: file.to_owned(), reason: error.to_string() })?;
    if found.is_empty() { Err(empty(file, "certificate")) } else { Ok(found) }
}

fn key(file: &Path, content: &[u8]) -> Result<PrivateKeyDer<'static>, LoadError> {
    PrivateKeyDer::from_pem_slice(content).map_err(|_| empty(file, "private key"))
}

fn empty(file: &Path, what: &'static str) -> LoadError {
    LoadError::Empty { file: file.to_owned(), what }
}

fn read_file(file: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(file).map_err(|error| LoadError::Read { file: file.to_owned(), reason: error.to_string() })
}

fn list(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}
