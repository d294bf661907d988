//! Many VIOSes that register at once: their cluster managements are actors of a few processes, and
//! the database is three processes more.

use std::fs::{self, File};
use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::{JoinSet, LocalSet, spawn_blocking};
use tokio::time::{Instant, timeout};
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::NodeName;
use vioduct_db::client::DbConfig;
use vioduct_db::schema::Schema;
use vioduct_runtime::Node;
use vioduct_vios::api::{Vio, VioNew, VioRequest};
use vioduct_vios::cluster::admin::FOUNDERS_MAX;
use vioduct_vios::cluster::cm::{CmConfig, CmRole, OwnVios, RegisterLimits};
use vioduct_vios::cluster::local::LocalStores;
use vioduct_vios::cluster::row::with_tables;
use vioduct_vios::roles::layout::Layouts;

use crate::cluster::Cluster;
use crate::db::client_on;

const DATABASE: [&str; 3] = ["d1", "d2", "d3"];
/// Processes that the VIOSes are spread over.
const PROCESSES: usize = 2;
/// The longest that all of it may take.
const WITHIN: Duration = Duration::from_secs(300);
const INVENTORY: &str = "vioses.toml";

/// Part of the VIOSes: what a process is told on its command line, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Part {
    /// The directory of it all.
    dir: PathBuf,
    /// The numbers of its VIOSes.
    numbers: std::ops::Range<usize>,
    /// How many there are in all.
    count: usize,
    database: Vec<(String, SocketAddr)>,
}

/// When VIOSes were done, since all of them were told to register.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Done {
    /// Each of them was registered, and saw itself in its view: milliseconds.
    registered_ms: Vec<u64>,
    /// Each of them knew all of them: milliseconds.
    told_ms: Vec<u64>,
}

/// How long so many VIOSes took. They begin once all are linked to the database's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// How many.
    pub vioses: usize,
    /// What it took to link them, milliseconds.
    pub linked_ms: u64,
    /// Until half of them were registered, milliseconds.
    pub half_ms: u64,
    /// Until all of them were.
    pub all_ms: u64,
    /// Until each of them knew all of them.
    pub told_ms: u64,
}

fn name(number: usize) -> String {
    format!("v{number:04}")
}

/// Has `count` VIOSes register at once; `program` plays a part of them when it is told `--part`.
///
/// # Errors
/// They don't within five minutes, or a process fails.
pub async fn run(vioduct: PathBuf, program: &Path, count: usize) -> Result<Figures> {
    let members = DATABASE.map(|name| (name, r#""db""#));
    let mut cluster = Cluster::create_of(vioduct, &members).await?;
    for name in DATABASE {
        let mut file = File::options().append(true).open(cluster.config(name))?;
        writeln!(file, "\n[db]\ndir = \"db\"\n[transport]\npeers_max = 4096")?;
        cluster.start(name).await?;
    }
    cluster.run(&["db", "init", "--certs", "tool", "--cluster", "cluster.toml"]).await?;
    issue(&cluster, count).await?;
    admit(&cluster, count).await?;
    let (mut parts, begun) = (Vec::new(), Instant::now());
    for process in 0..PROCESSES {
        let numbers = count * process / PROCESSES..count * (process + 1) / PROCESSES;
        let addr = |name: &str| Ok((name.to_owned(), cluster.addr(name).parse()?));
        let database = DATABASE.into_iter().map(addr).collect::<Result<_>>()?;
        let part = Part { dir: cluster.dir().to_owned(), numbers, count, database };
        parts.push(Process::start(program, &part)?);
    }
    for part in &mut parts {
        ensure!(part.line().await?.trim_end() == "ready", "a process is not ready");
    }
    let linked_ms = u64::try_from(begun.elapsed().as_millis())?;
    for part in &mut parts {
        part.stdin.write_all(b"go\n").await?;
    }
    let mut done = Done::default();
    for part in &mut parts {
        let of_one: Done = serde_json::from_str(&part.line().await?)?;
        done.registered_ms.extend(of_one.registered_ms);
        done.told_ms.extend(of_one.told_ms);
    }
    done.registered_ms.sort_unstable();
    ensure!(done.registered_ms.len() == count, "{} of {count}", done.registered_ms.len());
    let at = |share: usize| done.registered_ms.get((count - 1) * share / 100).copied();
    let told_ms = done.told_ms.iter().max().copied();
    Ok(Figures {
        vioses: count,
        linked_ms,
        half_ms: at(50).context("some are registered")?,
        all_ms: at(100).context("some are registered")?,
        told_ms: told_ms.context("some are told")?,
    })
}

/// Certificates for all of them, in directories of their own under `vioses`.
async fn issue(cluster: &Cluster, count: usize) -> Result<()> {
    let mut inventory = "cluster = \"demo\"\n".to_owned();
    for number in 0..count {
        inventory += &format!(
            "[[node]]\nname = \"{}\"\naddr = \"127.0.0.1:{}\"\nroles = [\"vios\"]\n",
            name(number),
            1024 + number
        );
    }
    fs::write(cluster.dir().join(INVENTORY), inventory)?;
    let issue = ["ca", "issue-all", "--dir", "ca", "--inventory", INVENTORY, "--out", "vioses"];
    let output = timeout(WITHIN, cluster.command(&issue).output()).await??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

async fn admit(cluster: &Cluster, count: usize) -> Result<()> {
    let schema = Arc::new(with_tables(Schema::new(0)));
    let client = client_on(cluster, DATABASE, schema, DbConfig::default()).await?;
    let names: Vec<NodeName> = (0..count).map(|it| name(it).parse()).collect::<Result<_, _>>()?;
    let (vio, founders) = (Vio::new(client.db), names.iter().take(FOUNDERS_MAX).cloned().collect());
    let object = VioNew::Cluster { name: "many".to_owned(), vioses: founders };
    vio.call(VioRequest::Create { object }).await?;
    for node in names.into_iter().skip(FOUNDERS_MAX) {
        vio.call(VioRequest::Create { object: VioNew::Vios { node } }).await?;
    }
    Ok(())
}

/// A process with a part of the VIOSes.
struct Process {
    _child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    fn start(program: &Path, part: &Part) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("--part").arg(serde_json::to_string(part)?).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().context("standard input was asked for")?;
        let stdout = child.stdout.take().context("standard output was asked for")?;
        Ok(Self { _child: child, stdin, stdout: BufReader::new(stdout) })
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        timeout(WITHIN, self.stdout.read_line(&mut line)).await.context("a process is late")??;
        Ok(line)
    }
}

/// Plays a part, as it is told on standard input, and prints when its VIOSes were done.
///
/// # Errors
/// A node does not start, or a VIOS does not register.
#[expect(clippy::print_stdout, reason = "it is what the parent reads")]
pub fn play(part: &str) -> Result<()> {
    let part: Part = serde_json::from_str(part)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut vioses = Vec::new();
        for number in part.numbers.clone() {
            vioses.push((number, node(&part, number).await?));
        }
        println!("ready");
        let told = spawn_blocking(|| std::io::stdin().lock().lines().next()).await?;
        ensure!(told.is_some(), "the parent has ended");
        let begun = Instant::now();
        let mut registering = JoinSet::new();
        for (number, node) in vioses {
            let cm = CmRole::start(&node, config(&part, number)?).await?;
            registering.spawn(register(node, cm, part.count, begun));
        }
        let mut done = Done::default();
        let mut roles = Vec::new();
        while let Some(ended) = registering.join_next().await {
            let (registered, told, role) = ended?;
            done.registered_ms.push(registered);
            done.told_ms.push(told);
            // Whoever is done goes on following.
            roles.push(role);
        }
        println!("{}", serde_json::to_string(&done)?);
        spawn_blocking(|| std::io::stdin().lock().lines().next()).await?;
        Ok(())
    })
}

async fn node(part: &Part, number: usize) -> Result<Node> {
    let dir = part.dir.join("vioses").join(name(number));
    let credentials = Credentials::load(&dir, UnixTime::now())?;
    let builder = Node::builder(Arc::new(credentials)).on_this_local_set();
    let node = builder.listen((Ipv4Addr::LOCALHOST, 0).into()).start().await?;
    for (name, addr) in &part.database {
        let name: NodeName = name.parse()?;
        node.connect(name.clone(), *addr).await?;
        let link = node.endpoint().link(&name).context("it was dialled")?;
        timeout(WITHIN, link.up()).await.context("a link is late")??;
    }
    Ok(node)
}

fn config(part: &Part, number: usize) -> Result<CmConfig> {
    let stores = part.dir.join("vioses").join(name(number)).join("cluster");
    Ok(CmConfig {
        stores: LocalStores::open(stores)?,
        vios: Some(OwnVios { cec: u32::try_from(number)?, software: "1".to_owned() }),
        schema: Arc::new(with_tables(Schema::new(0))),
        limits: RegisterLimits { attempts: 1000, ..RegisterLimits::default() },
    })
}

/// Waits until a VIOS is registered and knows it, and until it knows so many.
async fn register(
    node: Node,
    cm: CmRole,
    count: usize,
    begun: Instant,
) -> (u64, u64, (Node, CmRole)) {
    let since = || u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut layouts: Layouts = cm.sight().layouts.clone();
    layouts.until(|layout| layout.on(node.name()).map(|_place| ())).await;
    let registered = since();
    layouts.until(|layout| (layout.len() == count).then_some(())).await;
    (registered, since(), (node, cm))
}
