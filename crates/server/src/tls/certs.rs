//! `perpetuo cluster certs create`: CAs and certificates to try TLS with. Three CAs, so
//! that a worker's certificate opens neither the node port nor the admin port.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use base::{Clock as _, SystemClock};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Writes into DIR, and never over what is there:\n  ca.crt, ca.key                  signs nodes; nodes, clients and commands trust it\n  NAME.crt, NAME.key              for each --node, on all ports of that node\n  client-ca.crt, client-ca.key    signs clients; nodes trust it at the client port\n  client.crt, client.key          for workers and clients\n  admin-ca.crt, admin-ca.key      signs operators; nodes trust it at the admin port\n  admin.crt, admin.key            for `perpetuo cluster status` and the like\n\nRun it again with further --node to add nodes. Keep the *.key of the CAs away from the nodes.\n\nExample:\n  perpetuo cluster certs create --dir certs --node n1=n1.example,10.0.0.1 --node n2=n2.example"
)]
pub(crate) struct CreateArgs {
    /// Directory for the files; created when missing.
    #[arg(long)]
    dir: PathBuf,
    /// A node and the names and addresses under which others reach it.
    #[arg(long, value_name = "NAME=HOST[,HOST]", required = true)]
    node: Vec<String>,
    /// How long the certificates are valid, in days.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..=3650))]
    days: u16,
}

const CA_DAYS: i64 = 3650;

pub(crate) fn create(args: &CreateArgs) -> anyhow::Result<()> {
    let CreateArgs { dir, node: nodes, days } = args;
    let nodes = nodes.iter().map(|node| parse(node)).collect::<anyhow::Result<Vec<_>>>()?;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let days = i64::from(*days);
    let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let authority = authority(dir, "ca", "Perpetuo nodes")?;
    for (name, hosts) in nodes {
        issue(dir, &name, hosts, &both, days, &authority)?;
    }
    for (ca, subject, name) in
        [("client-ca", "Perpetuo clients", "client"), ("admin-ca", "Perpetuo operators", "admin")]
    {
        let authority = self::authority(dir, ca, subject)?;
        if !dir.join(format!("{name}.crt")).exists() {
            issue(dir, name, vec![name.to_owned()], &both[1..], days, &authority)?;
        }
    }
    Ok(())
}

fn parse(node: &str) -> anyhow::Result<(String, Vec<String>)> {
    const RESERVED: [&str; 5] = ["ca", "client-ca", "admin-ca", "client", "admin"];
    let (name, hosts) = node.split_once('=').with_context(|| format!("--node {node:?}: expected NAME=HOST[,HOST]"))?;
    let hosts: Vec<_> = hosts.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned).collect();
    if hosts.is_empty() {
        bail!("--node {node:?}: expected at least one HOST");
    }
    if RESERVED.contains(&name) || name.is_empty() || name.contains(['/', '\0']) {
        bail!("--node {node:?}: {name:?} cannot be the name of a node's files");
    }
    Ok((name.to_owned(), hosts))
}

/// The CA of a name: the one that is there, or a new one.
fn authority(dir: &Path, name: &str, subject: &str) -> anyhow::Result<Issuer<'static, KeyPair>> {
    let (cert_file, key_file) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    let mut params = CertificateParams::new(Vec::new()).context("cannot describe a CA")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    validity(&mut params, CA_DAYS);
    if key_file.exists() {
        let pem = std::fs::read_to_string(&key_file).with_context(|| format!("cannot read {}", key_file.display()))?;
        let key = KeyPair::from_pem(&pem).with_context(|| format!("{} is not a key", key_file.display()))?;
        return Ok(Issuer::new(params, key));
    }
    let key = KeyPair::generate().context("cannot make a key")?;
    let cert = params.self_signed(&key).context("cannot sign a CA")?;
    write(&key_file, &key.serialize_pem(), 0o600)?;
    write(&cert_file, &cert.pem(), 0o644)?;
    Ok(Issuer::new(params, key))
}

fn issue(
    dir: &Path,
    name: &str,
    hosts: Vec<String>,
    uses: &[ExtendedKeyUsagePurpose],
    days: i64,
    authority: &Issuer<'static, KeyPair>,
) -> anyhow::Result<()> {
    let mut params = CertificateParams::new(hosts).with_context(|| format!("{name}: not a host"))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = uses.to_vec();
    params.use_authority_key_identifier_extension = true;
    validity(&mut params, days);
    let key = KeyPair::generate().context("cannot make a key")?;
    let cert = params.signed_by(&key, authority).context("cannot sign a certificate")?;
    write(&dir.join(format!("{name}.key")), &key.serialize_pem(), 0o600)?;
    write(&dir.join(format!("{name}.crt")), &cert.pem(), 0o644)
}

/// From yesterday on, since clocks of other machines may be behind.
fn validity(params: &mut CertificateParams, days: i64) {
    let now = i64::try_from(SystemClock.now().as_nanos() / 1_000_000_000).unwrap_or(0);
    let date = |days: i64| {
        let day = jiff::Timestamp::from_second(now + days * 86_400).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let date = day.to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = date(-1);
    params.not_after = date(days);
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let mut file: File = File::options()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    output::line(&format!("wrote {}", path.display()));
    Ok(())
}
