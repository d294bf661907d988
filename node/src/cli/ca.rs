//! `vioduct ca …`: the commands of the host that holds the CA's key.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use vioduct_certs::UnixTime;
use vioduct_certs::ca::{CaError, ClusterCa};
use vioduct_certs::ca_dir::{CaLock, IfExists, check_host_dir};
use vioduct_certs::files::{PUBLIC_MODE, read_public, require_absent, write_atomic};
use vioduct_certs::identity::{ClusterName, Identity, Kind, NodeName, Roles};
use vioduct_certs::inventory::{Inventory, InventoryNode};
use vioduct_certs::issue_all::{IssuePlan, issue_all};
use vioduct_certs::moment::{DAY, at, text};
use vioduct_certs::serial::Serial;

use crate::cli::output::OutputFormat;

mod answers;
mod life;
mod trust;

use answers::{AllIssued, Created, Entry, Issued, ListSigned, Shown};
use life::LifeArgs;
use trust::TrustArgs;

const REQUEST_MAX: u64 = 64 << 10;
/// Stands for standard input or output in place of a file.
const STANDARD: &str = "-";

/// Adds files to a host's directory after its certificates.
pub(crate) type HostFiles<'a> =
    &'a mut dyn FnMut(&Inventory, &InventoryNode, &Path) -> io::Result<()>;

/// Make and run the cluster's certificate authority.
#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Make a CA: key, certificate and an empty revocation list.
    Create(CreateArgs),
    /// Issue a certificate and key for one node or tool.
    Issue(IssueArgs),
    /// Issue a directory of certificates for each node of an inventory.
    IssueAll(IssueAllArgs),
    /// Sign a request made by `vioduct cert request`; the key stays on its host.
    Sign(SignArgs),
    /// Revoke certificates and sign a new revocation list.
    Revoke(RevokeArgs),
    /// Sign the revocation list anew, before the last one is too old.
    Crl(DirArgs),
    /// Put roots and revocation lists of two or more CAs together, while one replaces another.
    Trust(TrustArgs),
    /// Show what the CA has issued and revoked.
    Show(ShowArgs),
}

/// Arguments of `ca create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the cluster: 1 to 32 of a-z, 0-9 and -.
    #[arg(long)]
    cluster: ClusterName,
    /// Directory to make the CA in.
    #[arg(long)]
    dir: PathBuf,
    /// Life of the CA in days.
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// How many days nodes believe a revocation list.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=365))]
    crl_days: u16,
}

/// Whom a certificate is for.
#[derive(Debug, Args)]
pub(crate) struct HolderArgs {
    /// Name of the node: 1 to 63 of a-z, 0-9 and -.
    #[arg(long)]
    node: NodeName,
    /// What the node may do, separated by commas: db, phyp, storage, vios.
    #[arg(long, value_delimiter = ',')]
    roles: Vec<String>,
    /// The name is a tool's, which dials nodes and accepts no links.
    #[arg(long)]
    tool: bool,
    #[command(flatten)]
    life: LifeArgs,
}

/// Arguments of `ca issue`.
#[derive(Debug, Args)]
pub(crate) struct IssueArgs {
    /// Directory of the CA.
    #[arg(long)]
    dir: PathBuf,
    #[command(flatten)]
    holder: HolderArgs,
    /// Directory to write node.crt, node.key, ca.crt and ca.crl to.
    #[arg(long)]
    out: PathBuf,
    /// Replace files that are there already.
    #[arg(long)]
    force: bool,
}

/// Arguments of `ca issue-all`.
#[derive(Debug, Args)]
pub(crate) struct IssueAllArgs {
    /// Directory of the CA.
    #[arg(long)]
    dir: PathBuf,
    /// The inventory file.
    #[arg(long)]
    inventory: PathBuf,
    /// Directory to make one directory per node in.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    life: LifeArgs,
    /// Replace the directories' files that are there already.
    #[arg(long)]
    force: bool,
}

/// Arguments of `ca sign`.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// Directory of the CA.
    #[arg(long)]
    dir: PathBuf,
    #[command(flatten)]
    holder: HolderArgs,
    /// The request, PEM; `-` for standard input. Only its public key is used.
    request: PathBuf,
    /// File to write the certificate to; `-` prints it, and the revocation list behind it.
    #[arg(long)]
    out: PathBuf,
    /// Replace the file if it is there already.
    #[arg(long)]
    force: bool,
}

/// Arguments of `ca revoke`.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// Directory of the CA.
    #[arg(long)]
    dir: PathBuf,
    /// Revoke every valid certificate of this node.
    #[arg(long, required_unless_present = "serial", conflicts_with = "serial")]
    node: Option<NodeName>,
    /// The name is a tool's.
    #[arg(long, requires = "node")]
    tool: bool,
    /// Revoke the certificate with this serial number, 32 hexadecimal digits.
    #[arg(long)]
    serial: Option<Serial>,
}

/// Arguments of commands on a CA alone.
#[derive(Debug, Args)]
pub(crate) struct DirArgs {
    /// Directory of the CA.
    #[arg(long)]
    dir: PathBuf,
}

/// Arguments of `ca show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Directory of the CA.
    #[arg(long)]
    dir: PathBuf,
    /// Show expired certificates too.
    #[arg(long)]
    all: bool,
}

impl CaCommand {
    /// Does what was asked. `host_files` completes each directory of `issue-all`.
    pub(crate) fn run(
        self,
        now: UnixTime,
        out: OutputFormat,
        host_files: HostFiles<'_>,
    ) -> Result<()> {
        match self {
            Self::Create(args) => args.run(now, out),
            Self::Issue(args) => args.run(now, out),
            Self::IssueAll(args) => args.run(now, out, host_files),
            Self::Sign(args) => args.run(now, out),
            Self::Revoke(args) => args.run(now, out),
            Self::Crl(args) => args.renew_crl(now, out),
            Self::Trust(args) => args.run(now, out),
            Self::Show(args) => args.run(now, out),
        }
    }
}

fn days(count: u32) -> Duration {
    DAY * count
}

fn if_exists(force: bool) -> IfExists {
    if force { IfExists::Replace } else { IfExists::Refuse }
}

/// Locks and reads a CA; the lock holds until it is dropped.
fn open(dir: &Path) -> Result<(CaLock, ClusterCa)> {
    require_dir(dir)?;
    let lock = CaLock::acquire(dir)?;
    Ok((lock, load(dir)?))
}

fn require_dir(dir: &Path) -> Result<()> {
    if !dir.is_dir() {
        bail!("{} is no directory; make a CA with `vioduct ca create`", dir.display());
    }
    Ok(())
}

fn load(dir: &Path) -> Result<ClusterCa> {
    require_dir(dir)?;
    ClusterCa::load(dir).with_context(|| format!("no usable CA in {}", dir.display()))
}

impl HolderArgs {
    fn identity(&self, cluster: &ClusterName) -> Result<Identity> {
        let roles = Roles::parse_list(self.roles.iter().map(String::as_str))?;
        let kind = if self.tool { Kind::Tool } else { Kind::Node };
        Ok(Identity { cluster: cluster.clone(), name: self.node.clone(), kind, roles })
    }
}

impl CreateArgs {
    fn run(self, now: UnixTime, out: OutputFormat) -> Result<()> {
        let ca = ClusterCa::create_with(self.cluster, days(self.days), self.crl_days, now)?;
        ca.save_new(&self.dir)?;
        out.print(&Created {
            cluster: ca.cluster().clone(),
            dir: self.dir,
            not_after: text(ca.not_after()),
        })?;
        Ok(())
    }
}

impl IssueArgs {
    fn run(self, now: UnixTime, out: OutputFormat) -> Result<()> {
        let (_lock, mut ca) = open(&self.dir)?;
        let identity = self.holder.identity(ca.cluster())?;
        // Before anything is issued: a refused write would leave a certificate nobody has.
        check_host_dir(&self.out, if_exists(self.force))
            .context("nothing issued; add --force to replace what is there")?;
        let bundle = ca.issue(&identity, self.holder.life.validity(), now)?;
        ca.save(&self.dir)?;
        bundle.write_to(&self.out, if_exists(self.force))?;
        out.print(&Issued {
            identity: identity.uri(),
            serial: bundle.serial,
            not_after: text(bundle.not_after),
            path: self.out,
        })?;
        Ok(())
    }
}

impl IssueAllArgs {
    fn run(self, now: UnixTime, out: OutputFormat, host_files: HostFiles<'_>) -> Result<()> {
        let inventory = Inventory::load(&self.inventory)
            .with_context(|| format!("inventory {}", self.inventory.display()))?;
        let (_lock, mut ca) = open(&self.dir)?;
        let plan = IssuePlan {
            inventory: &inventory,
            out: &self.out,
            validity: self.life.validity(),
            if_exists: if_exists(self.force),
            now,
        };
        let save = |ca: &ClusterCa| -> Result<(), CaError> { ca.save(&self.dir) };
        let complete = |node: &InventoryNode, dir: &Path| host_files(&inventory, node, dir);
        let hosts = issue_all(&mut ca, plan, save, complete)?;
        let issued = hosts.into_iter().map(|host| Issued {
            identity: inventory.identity(&host.node).uri(),
            serial: host.serial,
            not_after: text(host.not_after),
            path: host.dir,
        });
        out.print(&AllIssued { hosts: issued.collect() })?;
        Ok(())
    }
}

impl SignArgs {
    fn run(self, now: UnixTime, out: OutputFormat) -> Result<()> {
        let request = String::from_utf8(read_request(&self.request)?)
            .with_context(|| format!("{} is not a PEM request", self.request.display()))?;
        let is_printed = self.out == Path::new(STANDARD);
        let (_lock, mut ca) = open(&self.dir)?;
        let identity = self.holder.identity(ca.cluster())?;
        if !self.force && !is_printed {
            require_absent(&self.out).context("nothing signed; add --force to replace it")?;
        }
        let bundle = ca
            .sign_csr(&request, &identity, self.holder.life.validity(), now)
            .with_context(|| format!("request {}", self.request.display()))?;
        ca.save(&self.dir)?;
        if is_printed {
            let mut stdout = io::stdout().lock();
            write!(stdout, "{}{}", bundle.cert_pem, bundle.crl_pem)?;
            return Ok(stdout.flush()?);
        }
        write_atomic(&self.out, bundle.cert_pem.as_bytes(), PUBLIC_MODE)?;
        out.print(&Issued {
            identity: identity.uri(),
            serial: bundle.serial,
            not_after: text(bundle.not_after),
            path: self.out,
        })?;
        Ok(())
    }
}

fn read_request(path: &Path) -> Result<Vec<u8>> {
    if path != Path::new(STANDARD) {
        return Ok(read_public(path, REQUEST_MAX)?);
    }
    let mut request = Vec::new();
    // One that is cut here is no whole request any more, and refused as such.
    io::stdin().lock().take(REQUEST_MAX).read_to_end(&mut request).context("standard input")?;
    Ok(request)
}

impl RevokeArgs {
    fn run(self, now: UnixTime, out: OutputFormat) -> Result<()> {
        let (_lock, mut ca) = open(&self.dir)?;
        let kind = if self.tool { Kind::Tool } else { Kind::Node };
        let revoked = match (&self.node, self.serial) {
            (Some(name), _) => ca.revoke_name(kind, name, now)?,
            (None, Some(serial)) => {
                ca.revoke(&serial, now)?;
                vec![serial]
            }
            (None, None) => bail!("name what to revoke with --node or --serial"),
        };
        ca.save(&self.dir)?;
        out.print(&ListSigned::new(&ca, &self.dir, revoked))?;
        Ok(())
    }
}

impl DirArgs {
    fn renew_crl(self, now: UnixTime, out: OutputFormat) -> Result<()> {
        let (_lock, mut ca) = open(&self.dir)?;
        ca.renew_crl(now)?;
        ca.save(&self.dir)?;
        out.print(&ListSigned::new(&ca, &self.dir, Vec::new()))?;
        Ok(())
    }
}

impl ShowArgs {
    fn run(self, now: UnixTime, out: OutputFormat) -> Result<()> {
        let ca = load(&self.dir)?;
        let shown = ca.issued().iter().filter(|entry| self.all || !entry.is_expired(now));
        let certificates = shown.map(|entry| Entry {
            serial: entry.serial,
            kind: entry.kind,
            name: entry.name.clone(),
            not_after: text(at(entry.not_after)),
            expired: entry.is_expired(now),
            revoked_at: entry.revoked_at.map(|secs| text(at(secs))),
        });
        out.print(&Shown {
            cluster: ca.cluster().clone(),
            not_after: text(ca.not_after()),
            crl_number: ca.crl().number,
            crl_next_update: text(ca.crl().next_update),
            certificates: certificates.collect(),
        })?;
        Ok(())
    }
}
