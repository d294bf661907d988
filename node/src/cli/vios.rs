//! `vioduct vios …`: which VIOSes belong to the cluster, and how far each is with it.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::timeout;
use vioduct_certs::identity::NodeName;
use vioduct_node::status::SCHEMA;
use vioduct_node::tool::Tool;
use vioduct_vios::api::{Cluster, Object, VioId, VioNew, VioRequest, Vios};
use vioduct_vios::cluster::admin::AdminError;
use vioduct_vios::cluster::cm::{AskMembership, CM_NAME, CmDesk, CmPhase, RegisterAgain};

use crate::cli::api::VersionArgs;
use crate::cli::cluster::{TargetArgs, on_local_set};
use crate::cli::db::Session;
use crate::cli::output::OutputFormat;
use crate::cli::sight::{Sight, Source};
use crate::cli::table::Table;

const HEAD: [&str; 8] = ["VIOS", "NODE", "CEC", "SOFTWARE", "STATE", "KNOWS", "VERSION", "REASON"];
/// How long one node is asked.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// Look at the cluster's VIOSes, and change which they are.
#[derive(Debug, Subcommand)]
pub(crate) enum ViosCommand {
    /// List them. Exit code 1 when one is not registered, or does not answer.
    Ls(DbTargetArgs),
    /// Admit the VIOS of a node. It registers at its next start, or at once if it runs.
    Add(ViosArgs),
    /// Take the VIOS of a node out of the cluster.
    Remove(RemoveArgs),
    /// Have the VIOS of a node register again that failed to.
    Register(ViosArgs),
}

/// The database, as a command reaches it.
#[derive(Debug, Args)]
pub(crate) struct DbTargetArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// How long to try.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    timeout_ms: u32,
}

/// One VIOS.
#[derive(Debug, Args)]
pub(crate) struct ViosArgs {
    #[command(flatten)]
    db: DbTargetArgs,
    /// Its node.
    on: NodeName,
}

/// Arguments of `vios remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    which: ViosArgs,
    #[command(flatten)]
    version: VersionArgs,
}

impl DbTargetArgs {
    /// What comes of `work` within the time that the command may try.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let time = Duration::from_millis(self.timeout_ms.into());
        let late = || format!("not within {} ms", self.timeout_ms);
        timeout(time, work).await.with_context(late)?
    }

    /// What is known of the cluster.
    pub(crate) async fn sight(&self, session: &Session) -> Result<Sight> {
        Sight::of(session, &self.target).await
    }

    pub(crate) async fn open(&self) -> Result<Session> {
        // The cluster's tables lie on the system's shard.
        Session::open(&self.target, 0, Duration::from_millis(self.timeout_ms.into())).await
    }
}

impl ViosCommand {
    /// Does what was asked.
    pub(crate) fn run(self, out: OutputFormat) -> Result<ExitCode> {
        match self {
            Self::Ls(args) => on_local_set(args.list(out)),
            Self::Add(args) => on_local_set(args.add(out)),
            Self::Remove(args) => on_local_set(args.run(out)),
            Self::Register(args) => on_local_set(args.register(out)),
        }
    }
}

impl DbTargetArgs {
    async fn list(self, out: OutputFormat) -> Result<ExitCode> {
        let session = self.open().await?;
        let Sight { view, source } = self.sight(&session).await?;
        let cluster = Cluster::seen(&view).ok_or(AdminError::NoCluster)?;
        let addrs: BTreeMap<_, _> = self.target.nodes()?.into_iter().collect();
        let asked = Vios::all(&view).map(async |vios| {
            let answer = async {
                let addr = addrs.get(&vios.node);
                let addr = addr.context("the inventory does not name its node")?;
                let target = session.tool.connect(vios.node.clone(), addr).await?;
                let asked = target.ask_if_there::<CmDesk, _>(CM_NAME, AskMembership, ASK_WITHIN);
                asked.await?.context("no VIOS runs there")
            };
            let phase = answer.await.map(|membership| membership.phase);
            ShownVios::of(vios, phase)
        });
        let list = List {
            schema: SCHEMA,
            source,
            cluster: cluster.name,
            id: cluster.id,
            primary: cluster.primary,
            vioses: join_all(asked).await,
        };
        out.print(&list)?;
        session.tool.close().await;
        let is_well = list.vioses.iter().all(|vios| matches!(vios.state, "member" | "primary"));
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl ViosArgs {
    async fn add(self, out: OutputFormat) -> Result<ExitCode> {
        self.db.target.names(&self.on)?;
        let session = self.db.open().await?;
        let vios: Vios = session.create(VioNew::Vios { node: self.on.clone() }).await?;
        let told = tell(&session.tool, &self.db.target, &self.on).await;
        self.done(format!("is VIOS {} of the cluster", vios.number), told, session, out).await
    }

    async fn register(self, out: OutputFormat) -> Result<ExitCode> {
        let session = self.db.open().await?;
        tell(&session.tool, &self.db.target, &self.on).await?;
        self.done("registers again, unless it is a member".into(), Ok(()), session, out).await
    }

    async fn done(
        self,
        done: String,
        told: Result<()>,
        session: Session,
        out: OutputFormat,
    ) -> Result<ExitCode> {
        let not_told = told.err().map(|error| format!("{error:#}"));
        out.print(&Changed { schema: SCHEMA, node: self.on, done, not_told })?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

impl RemoveArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let Self { which, version: VersionArgs { if_version } } = self;
        let session = which.db.open().await?;
        let id = VioId::Vios(which.on.clone());
        session.call(VioRequest::Delete { id, version: if_version }).await?;
        // The database tells it.
        which.done("is no VIOS of the cluster any more".into(), Ok(()), session, out).await
    }
}

/// Has the VIOS of a node register.
pub(crate) async fn tell(tool: &Tool, target: &TargetArgs, node: &NodeName) -> Result<()> {
    let (name, addr) = target.one(Some(node), "NODE")?;
    let target = tool.connect(name, &addr).await?;
    let told = target.ask_if_there::<CmDesk, _>(CM_NAME, RegisterAgain, ASK_WITHIN);
    let is_told = told.await?.unwrap_or(false);
    anyhow::ensure!(is_told, "no VIOS runs on {node}; its file needs [cm] with cec");
    Ok(())
}

/// A VIOS as it is listed.
#[derive(Debug, Serialize)]
struct ShownVios {
    number: u32,
    node: NodeName,
    version: u64,
    cec: Option<u32>,
    unique_id: Option<String>,
    software: Option<String>,
    state: &'static str,
    /// How many registered VIOSes it knows of.
    knows: Option<u32>,
    reason: Option<String>,
}

impl ShownVios {
    fn of(vios: Vios, phase: Result<CmPhase>) -> Self {
        let Vios { node, version, number, registered } = vios;
        let is_registered = registered.is_some();
        let (state, knows, reason) = match phase {
            Ok(CmPhase::Member { vioses, .. }) if !is_registered => {
                ("admitted", Some(vioses), None)
            }
            Ok(CmPhase::Member { vioses, is_primary: false, .. }) => ("member", Some(vioses), None),
            Ok(CmPhase::Member { vioses, .. }) => ("primary", Some(vioses), None),
            Ok(CmPhase::Registering { why, .. }) => ("registering", None, why),
            Ok(CmPhase::Failed { why }) => ("failed", None, Some(why)),
            Ok(CmPhase::Following { .. }) => {
                ("failed", None, Some("its node's file has no cm.cec".to_owned()))
            }
            Err(error) => ("no answer", None, Some(format!("{error:#}"))),
        };
        let registered = registered.as_ref();
        Self {
            number,
            node,
            version,
            cec: registered.map(|registered| registered.cec),
            unique_id: registered.map(|registered| registered.unique.to_string()),
            software: registered.map(|registered| registered.software.clone()),
            state,
            knows,
            reason,
        }
    }
}

/// Answer of `vios ls`.
#[derive(Debug, Serialize)]
struct List {
    schema: u32,
    #[serde(flatten)]
    source: Source,
    cluster: String,
    id: String,
    /// The node of the primary, as the database has it.
    primary: Option<String>,
    vioses: Vec<ShownVios>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(HEAD);
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        for vios in &self.vioses {
            table.row([
                vios.number.to_string(),
                vios.node.to_string(),
                or_dash(vios.cec.map(|cec| cec.to_string())),
                or_dash(vios.software.clone()),
                vios.state.to_owned(),
                or_dash(vios.knows.map(|count| count.to_string())),
                vios.version.to_string(),
                or_dash(vios.reason.clone()),
            ]);
        }
        writeln!(f, "cluster {} ({})", self.cluster, self.id)?;
        write!(f, "{table}{}", self.source)
    }
}

/// Answer of what changes a VIOS.
#[derive(Debug, Serialize)]
struct Changed {
    schema: u32,
    node: NodeName,
    done: String,
    /// Why its node was not told to register.
    not_told: Option<String>,
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.node, self.done)?;
        self.not_told.iter().try_for_each(|error| write_not_told(f, &self.node, error))
    }
}

/// Says that a VIOS has to be told by other means.
pub(crate) fn write_not_told(
    f: &mut fmt::Formatter<'_>,
    node: &NodeName,
    error: &str,
) -> fmt::Result {
    writeln!(
        f,
        "{node} was not told: {error}; start it anew, or run `vioduct vios register {node}`"
    )
}
