//! `vioduct cert …`: the commands of a host that holds a certificate.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::runtime::Runtime;
use vioduct_certs::UnixTime;
use vioduct_certs::ca_dir::IfExists;
use vioduct_certs::credentials::{
    CERT_FILE, CRL_FILE, Credentials, LoadError, ROOTS_FILE, crls_from_pem,
};
use vioduct_certs::files::read_public;
use vioduct_certs::identity::NodeName;
use vioduct_certs::inspect::{Description, certificates, describe, revocation_lists};
use vioduct_certs::install::{
    InstallError, Installation, Installed, REQUEST_FILE, install, make_request,
};
use vioduct_certs::moment::text;
use vioduct_certs::rotation::Schedule;
use vioduct_node::config::NodeConfig;
use vioduct_node::renewal::renew;

use crate::cli::output::OutputFormat;

const FILE_MAX: u64 = 12 << 20;

/// Request, install and check this host's certificate.
#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// Make a key and a signing request; the key never leaves this host.
    Request(RequestArgs),
    /// Put a certificate, roots or revocation lists in place, after checking them together.
    Install(InstallArgs),
    /// Have a node's certificate renewed now, by the command in its file; a running node takes the
    /// new one into use.
    Renew(RenewArgs),
    /// Show a certificate, or all that is in a certificate directory.
    Show(ShowArgs),
    /// Tell whether peers would accept this host's certificate, and whether it accepts a peer's.
    Verify(VerifyArgs),
}

/// Arguments of `cert request`.
#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// Name of this node; for the reader of the request only.
    #[arg(long)]
    node: NodeName,
    /// The certificate directory.
    #[arg(long)]
    dir: PathBuf,
    /// Replace a request that still waits for its certificate.
    #[arg(long)]
    force: bool,
}

/// Arguments of `cert install`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct InstallArgs {
    /// The certificate directory.
    #[arg(long)]
    dir: PathBuf,
    /// The signed certificate, PEM.
    #[arg(long, group = "what")]
    cert: Option<PathBuf>,
    /// The trusted roots, PEM.
    #[arg(long, group = "what")]
    ca: Option<PathBuf>,
    /// The revocation lists, PEM.
    #[arg(long, group = "what")]
    crl: Option<PathBuf>,
    /// Install a certificate that is for another node than the installed one.
    #[arg(long)]
    force: bool,
}

/// Arguments of `cert renew`.
#[derive(Debug, Args)]
pub(crate) struct RenewArgs {
    /// The node's file, vioduct.toml.
    #[arg(long)]
    config: PathBuf,
}

/// Arguments of `cert show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The certificate directory.
    #[arg(long, required_unless_present = "file", conflicts_with = "file")]
    dir: Option<PathBuf>,
    /// A PEM file of certificates.
    file: Option<PathBuf>,
}

/// Arguments of `cert verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The certificate directory.
    #[arg(long)]
    dir: PathBuf,
    /// A peer's certificate to check against the directory's roots and revocation lists, PEM.
    #[arg(long)]
    peer: Option<PathBuf>,
}

impl CertCommand {
    /// Does what was asked.
    pub(crate) fn run(self, now: UnixTime, out: OutputFormat) -> Result<()> {
        match self {
            Self::Request(args) => args.run(out),
            Self::Install(args) => args.run(now, out),
            Self::Renew(args) => args.run(now, out),
            Self::Show(args) => args.run(now, out),
            Self::Verify(args) => args.run(now, out),
        }
    }
}

#[derive(Debug, Serialize)]
struct Requested {
    request: PathBuf,
    node: NodeName,
}

impl fmt::Display for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (request, node) = (self.request.display(), &self.node);
        writeln!(f, "{request} made; take it to the CA's host and run there")?;
        writeln!(f, "  vioduct ca sign --dir CA --node {node} --roles ROLES --out {node}.crt FILE")
    }
}

impl RequestArgs {
    fn run(self, out: OutputFormat) -> Result<()> {
        let if_exists = if self.force { IfExists::Replace } else { IfExists::Refuse };
        make_request(&self.dir, &self.node, if_exists)
            .context("no request made; if an earlier one is to be dropped, add --force")?;
        out.print(&Requested { request: self.dir.join(REQUEST_FILE), node: self.node })?;
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct InstalledAnswer {
    identity: String,
    serial: String,
    replaced: Option<String>,
    crl_numbers: Vec<u64>,
    not_after: String,
}

impl InstalledAnswer {
    fn new(installed: Installed) -> Self {
        let credentials = installed.credentials;
        Self {
            identity: credentials.identity().uri(),
            serial: credentials.serial().to_string(),
            replaced: installed.replaced.map(|serial| serial.to_string()),
            crl_numbers: credentials.crls().iter().map(|crl| crl.number).collect(),
            not_after: text(credentials.not_after()),
        }
    }
}

impl fmt::Display for InstalledAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identity, serial, not_after, .. } = self;
        writeln!(f, "{identity}, serial {serial}, valid until {not_after}")?;
        if let Some(replaced) = &self.replaced {
            writeln!(f, "replaces serial {replaced}")?;
        }
        self.crl_numbers.iter().try_for_each(|number| writeln!(f, "revocation list {number}"))
    }
}

impl InstallArgs {
    fn run(self, now: UnixTime, out: OutputFormat) -> Result<()> {
        let read = |path: &Option<PathBuf>| {
            path.as_deref().map(|path| read_public(path, FILE_MAX)).transpose()
        };
        let (cert, roots, crls) = (read(&self.cert)?, read(&self.ca)?, read(&self.crl)?);
        let new = Installation {
            cert: cert.as_deref(),
            roots: roots.as_deref(),
            crls: crls.as_deref(),
            change_holder: self.force,
        };
        let installed = install(&self.dir, &new, now).map_err(|error| {
            let is_begun = matches!(error, InstallError::CutOff(_));
            let what = if is_begun { "not all installed" } else { "nothing installed" };
            anyhow::Error::new(error).context(format!("{what} in {}", self.dir.display()))
        })?;
        out.print(&InstalledAnswer::new(installed))?;
        Ok(())
    }
}

impl RenewArgs {
    fn run(self, now: UnixTime, out: OutputFormat) -> Result<()> {
        let config = NodeConfig::load(&self.config)?;
        let runtime = Runtime::new().context("can't start the runtime")?;
        let installed = runtime.block_on(renew(&config, now)).context("not renewed")?;
        out.print(&InstalledAnswer::new(installed))?;
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Certificate {
    file: PathBuf,
    subject: String,
    issuer: String,
    identity: Option<String>,
    serial: String,
    not_before: String,
    not_after: String,
    seconds_left: u64,
    urgency: &'static str,
}

impl Certificate {
    fn new(file: &Path, described: Description, now: UnixTime) -> Self {
        let seed = described
            .serial
            .parse()
            .map_or(0, |serial: vioduct_certs::serial::Serial| serial.seed());
        let schedule = Schedule::new(described.not_before, described.not_after, seed);
        Self {
            file: file.to_owned(),
            subject: described.subject,
            issuer: described.issuer,
            identity: described.identity.ok().map(|identity| identity.uri()),
            serial: described.serial,
            not_before: text(described.not_before),
            not_after: text(described.not_after),
            seconds_left: schedule.time_left(now).as_secs(),
            urgency: schedule.urgency(now).label(),
        }
    }
}

#[derive(Debug, Serialize)]
struct List {
    number: u64,
    revoked_count: usize,
    next_update: String,
    stale: bool,
}

#[derive(Debug, Serialize)]
struct Shown {
    certificates: Vec<Certificate>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    revocation_lists: Vec<List>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for certificate in &self.certificates {
            let holder = certificate.identity.as_ref().unwrap_or(&certificate.subject);
            writeln!(f, "{}: {holder}", certificate.file.display())?;
            writeln!(f, "  issuer  {}", certificate.issuer)?;
            writeln!(f, "  serial  {}", certificate.serial)?;
            let Certificate { not_before, not_after, seconds_left, urgency, .. } = certificate;
            writeln!(f, "  valid   {not_before} to {not_after}, {seconds_left} s left: {urgency}")?;
        }
        for list in &self.revocation_lists {
            let List { number, revoked_count, next_update, stale } = list;
            let state = if *stale { "TOO OLD since" } else { "to be replaced by" };
            writeln!(
                f,
                "revocation list {number}: {revoked_count} revoked, {state} {next_update}"
            )?;
        }
        Ok(())
    }
}

fn described(path: &Path, now: UnixTime) -> Result<Vec<Certificate>> {
    let context = || format!("{}", path.display());
    let found = certificates(&read_public(path, FILE_MAX)?).with_context(context)?;
    let one = |der| describe(der).map(|described| Certificate::new(path, described, now));
    found.iter().map(one).collect::<Result<_, _>>().with_context(context)
}

impl ShowArgs {
    fn run(self, now: UnixTime, out: OutputFormat) -> Result<()> {
        let shown = match (&self.dir, &self.file) {
            (Some(dir), _) => show_dir(dir, now)?,
            (None, Some(file)) => {
                Shown { certificates: described(file, now)?, revocation_lists: Vec::new() }
            }
            (None, None) => bail!("name what to show: a file, or a directory with --dir"),
        };
        out.print(&shown)?;
        Ok(())
    }
}

fn show_dir(dir: &Path, now: UnixTime) -> Result<Shown> {
    let mut found = described(&dir.join(CERT_FILE), now)?;
    found.extend(described(&dir.join(ROOTS_FILE), now)?);
    let roots = certificates(&read_public(&dir.join(ROOTS_FILE), FILE_MAX)?)?;
    let lists = crls_from_pem(&read_public(&dir.join(CRL_FILE), FILE_MAX)?)?;
    let lists = revocation_lists(&roots, lists)
        .with_context(|| dir.join(CRL_FILE).display().to_string())?;
    let lists = lists.into_iter().map(|list| List {
        number: list.number,
        revoked_count: list.revoked_count,
        next_update: text(list.next_update),
        stale: now >= list.next_update,
    });
    Ok(Shown { certificates: found, revocation_lists: lists.collect() })
}

/// Why something was refused.
#[derive(Debug, Serialize)]
struct Problem {
    file: PathBuf,
    reason: &'static str,
    message: String,
}

#[derive(Debug, Serialize)]
struct Verdict {
    accepted: bool,
    problems: Vec<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Problem { file, reason, message } in &self.problems {
            writeln!(f, "{}: {reason}: {message}", file.display())?;
        }
        if let Some(peer) = &self.peer {
            writeln!(f, "peer {peer} accepted")?;
        }
        if self.accepted { writeln!(f, "accepted") } else { Ok(()) }
    }
}

impl VerifyArgs {
    fn run(self, now: UnixTime, out: OutputFormat) -> Result<()> {
        let mut problems = Vec::new();
        let mut peer = None;
        match Credentials::load(&self.dir, now) {
            Ok(credentials) => {
                if let Some(file) = &self.peer {
                    match check_peer(&credentials, file, now)? {
                        Ok(uri) => peer = Some(uri),
                        Err(problem) => problems.push(problem),
                    }
                }
            }
            Err(error) => problems.push(own_problem(&self.dir, error)),
        }
        let accepted = problems.is_empty();
        out.print(&Verdict { accepted, problems, peer })?;
        if accepted { Ok(()) } else { bail!("not accepted, for the reasons above") }
    }
}

fn own_problem(dir: &Path, error: LoadError) -> Problem {
    let reason = match &error {
        LoadError::OwnCertificate(refusal) => refusal.label(),
        _ => "unusable_files",
    };
    let message = format!("{:#}", anyhow::Error::new(error));
    Problem { file: dir.to_owned(), reason, message }
}

fn check_peer(
    credentials: &Credentials,
    file: &Path,
    now: UnixTime,
) -> Result<Result<String, Problem>> {
    let chain =
        certificates(&read_public(file, FILE_MAX)?).with_context(|| file.display().to_string())?;
    Ok(match credentials.verify_peer(&chain, now) {
        Ok(peer) => Ok(peer.identity.uri()),
        Err(refusal) => Err(Problem {
            file: file.to_owned(),
            reason: refusal.label(),
            message: refusal.to_string(),
        }),
    })
}
