//! Real `vioduct` processes on loopback: a CA, an inventory, and for each node a directory and a
//! process.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

/// Longest that a command or the start of a node may take.
const STEP_MAX: Duration = Duration::from_secs(15);
/// How often a condition is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(40);
/// Name of the inventory in a cluster's directory.
const INVENTORY: &str = "cluster.toml";
/// Name of the tool's certificate directory.
const TOOL: &str = "tool";

/// A directory of its own, removed at the end unless kept.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    is_kept: bool,
}

impl Scratch {
    /// Makes it, among the system's temporary files.
    ///
    /// # Errors
    /// It can't be made.
    pub fn create() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vioduct-cluster-{}-{number}", std::process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("can't make {}", path.display()))?;
        Ok(Self { path, is_kept: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_kept {
            // What is left in the temporary directory harms nobody.
            drop(fs::remove_dir_all(&self.path));
        }
    }
}

/// A cluster whose nodes are processes on 127.0.0.1, 127.0.0.2 and so on.
#[derive(Debug)]
pub struct Cluster {
    vioduct: PathBuf,
    addrs: BTreeMap<String, String>,
    processes: BTreeMap<String, Child>,
    scratch: Scratch,
}

impl Cluster {
    /// Makes a CA, an inventory of `names`, a certificate for each, and one for a tool. Starts
    /// nothing.
    ///
    /// # Errors
    /// A command fails, or a file can't be written.
    pub async fn create(vioduct: PathBuf, names: &[&str]) -> Result<Self> {
        let members: Vec<_> = names.iter().map(|name| (*name, r#""db", "vios""#)).collect();
        Self::create_of(vioduct, &members).await
    }

    /// The same, of members with roles of their own: names and what stands in the brackets of
    /// `roles`.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn create_of(vioduct: PathBuf, members: &[(&str, &str)]) -> Result<Self> {
        let scratch = Scratch::create()?;
        let mut inventory = "cluster = \"demo\"\n".to_owned();
        let mut addrs = BTreeMap::new();
        for ((name, roles), host) in members.iter().zip(1..) {
            let addr = free_addr(host)?;
            inventory += &format!("\n[[node]]\nname = \"{name}\"\naddr = \"{addr}\"\n");
            inventory += &format!("roles = [{roles}]\n");
            addrs.insert((*name).to_owned(), addr);
        }
        fs::write(scratch.path.join(INVENTORY), inventory)?;
        let cluster = Self { vioduct, addrs, processes: BTreeMap::new(), scratch };
        cluster.run(&["ca", "create", "--cluster", "demo", "--dir", "ca"]).await?;
        let issue_all = ["ca", "issue-all", "--dir", "ca", "--inventory", INVENTORY, "--out", "."];
        cluster.run(&issue_all).await?;
        let tool = ["ca", "issue", "--dir", "ca", "--tool", "--node", "operator", "--out", TOOL];
        cluster.run(&tool).await?;
        Ok(cluster)
    }

    /// The directory of it all: `ca/`, `cluster.toml`, `tool/` and one for each node.
    pub fn dir(&self) -> &Path {
        &self.scratch.path
    }

    /// Where a node listens; empty for a name that is none.
    pub fn addr(&self, name: &str) -> &str {
        self.addrs.get(name).map_or("", String::as_str)
    }

    /// A command of the program, run in [`dir`](Self::dir).
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.vioduct);
        command.args(args).current_dir(self.dir()).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end, whatever that is.
    ///
    /// # Errors
    /// It can't be run, or takes too long.
    pub async fn output(&self, args: &[&str]) -> Result<Output> {
        let output = self.command(args).kill_on_drop(true).output();
        let output = timeout(STEP_MAX, output).await;
        let name = || format!("vioduct {}", args.join(" "));
        output.with_context(name)?.with_context(name)
    }

    /// Runs a command that has to end well; gives what it prints.
    ///
    /// # Errors
    /// It ends otherwise; with what it says.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        let output = self.output(args).await?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("vioduct {}: {}: {}", args.join(" "), output.status, said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts a node, and waits until it says that it listens. Its log is `NAME/node.log`.
    ///
    /// # Errors
    /// It ends, or says nothing in time.
    pub async fn start(&mut self, name: &str) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log(name))?;
        let config = format!("{name}/vioduct.toml");
        let mut command = self.command(&["node", "start", "--config", &config]);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn()?;
        let stdout = child.stdout.take().context("standard output was asked for")?;
        // From here on the process ends with the cluster.
        self.processes.insert(name.to_owned(), child);
        let mut line = String::new();
        timeout(STEP_MAX, BufReader::new(stdout).read_line(&mut line))
            .await
            .with_context(|| format!("{name} is not ready in time"))??;
        let ready = format!("vioduct node {name} ready on {}", self.addr(name));
        if line.trim_end() != ready {
            let log = fs::read_to_string(self.log(name)).unwrap_or_default();
            bail!("{name} is not ready; it said {line:?}, and logged:\n{log}");
        }
        Ok(())
    }

    /// A node's file.
    pub fn config(&self, name: &str) -> PathBuf {
        self.dir().join(name).join("vioduct.toml")
    }

    /// A node's log.
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir().join(name).join("node.log")
    }

    /// Whether a node was started and not ended by this.
    pub fn runs(&self, name: &str) -> bool {
        self.processes.contains_key(name)
    }

    fn process(&mut self, name: &str) -> Result<&mut Child> {
        self.processes.get_mut(name).with_context(|| format!("{name} does not run"))
    }

    /// The number of a node's process.
    ///
    /// # Errors
    /// It does not run.
    pub fn id(&self, name: &str) -> Result<u32> {
        let process = self.processes.get(name).with_context(|| format!("{name} does not run"))?;
        process.id().context("it has ended")
    }

    /// Ends a node with SIGKILL.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&mut self, name: &str) -> Result<()> {
        self.process(name)?.kill().await?;
        self.processes.remove(name);
        Ok(())
    }

    /// Sends a signal, named as `kill` names it, to a node.
    ///
    /// # Errors
    /// It does not run.
    pub async fn signal(&mut self, name: &str, signal: &str) -> Result<()> {
        send_signal(self.id(name)?, signal).await
    }

    /// Whether a node that was started still runs.
    ///
    /// # Errors
    /// It was not started, or it can't be known.
    pub fn is_alive(&mut self, name: &str) -> Result<bool> {
        Ok(self.process(name)?.try_wait()?.is_none())
    }

    /// Waits until a node has ended.
    ///
    /// # Errors
    /// It does not run, or does not end in time.
    pub async fn ended(&mut self, name: &str) -> Result<ExitStatus> {
        let status = timeout(STEP_MAX, self.process(name)?.wait()).await;
        let status = status.with_context(|| format!("{name} does not end"))??;
        self.processes.remove(name);
        Ok(status)
    }

    /// The answer of `cluster status` about every node, or about one, and whether all is well.
    ///
    /// # Errors
    /// It gives no JSON.
    pub async fn status(&self, node: Option<&str>) -> Result<(Value, bool)> {
        let mut args = vec!["cluster", "status", "--certs", TOOL, "--output", "json"];
        match node {
            Some(name) => args.extend(["--node", name, "--addr", self.addr(name)]),
            None => args.extend(["--cluster", INVENTORY]),
        }
        let output = self.output(&args).await?;
        let status = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok((status, output.status.success()))
    }

    /// Asks for the status until `pick` finds in it what it looks for.
    ///
    /// # Errors
    /// It does not within `bound`; with the last status.
    pub async fn until<T>(
        &self,
        node: Option<&str>,
        bound: Duration,
        what: &str,
        mut pick: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T> {
        let mut last = Value::Null;
        let looking = async {
            let mut looks = interval(LOOK_INTERVAL);
            loop {
                looks.tick().await;
                last = self.status(node).await?.0;
                if let Some(picked) = pick(&last) {
                    return Ok(picked);
                }
            }
        };
        match timeout(bound, looking).await {
            Ok(found) => found,
            Err(_elapsed) => bail!("not seen within {bound:?}: {what}; last status: {last:#}"),
        }
    }

    /// Waits until every node answers and every link is up.
    ///
    /// # Errors
    /// That is not so within `bound`.
    pub async fn healthy(&self, bound: Duration) -> Result<Value> {
        let healthy = |status: &Value| (status["healthy"] == true).then(|| status.clone());
        self.until(None, bound, "a healthy cluster", healthy).await
    }

    /// Leaves the directory behind, and says where it is.
    #[expect(clippy::print_stderr, reason = "for whoever looks into a failure")]
    pub fn keep_files(&mut self) {
        self.scratch.is_kept = true;
        eprintln!("files and logs: {}", self.scratch.path.display());
    }

    /// Leaves the processes and the directory behind; gives the ids of the processes.
    pub fn keep(mut self) -> Vec<u32> {
        self.scratch.is_kept = true;
        let processes = std::mem::take(&mut self.processes);
        processes.values().filter_map(Child::id).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.processes.values_mut() {
            // Fails only when it has ended.
            child.start_kill().ok();
        }
    }
}

/// Sends a signal, named as `kill` names it, to a process.
///
/// # Errors
/// There is no such process.
pub async fn send_signal(id: u32, signal: &str) -> Result<()> {
    let script = format!("kill -{signal} {id}");
    let status = Command::new("sh").args(["-c", &script]).status().await?;
    ensure!(status.success(), "{script}: {status}");
    Ok(())
}

/// The status of one node in what [`Cluster::status`] gives; null when it did not answer.
pub fn node<'a>(status: &'a Value, name: &str) -> &'a Value {
    static NONE: Value = Value::Null;
    let nodes = status["nodes"].as_array();
    let found = nodes.and_then(|nodes| nodes.iter().find(|node| node["node"] == name));
    found.map_or(&NONE, |node| &node["status"])
}

/// One node's link to a peer in what [`Cluster::status`] gives; null when there is none.
pub fn link<'a>(status: &'a Value, name: &str, peer: &str) -> &'a Value {
    static NONE: Value = Value::Null;
    let links = node(status, name)["links"].as_array();
    let found = links.and_then(|links| links.iter().find(|link| link["peer"] == peer));
    found.unwrap_or(&NONE)
}

/// A port that nobody uses at this moment, on 127.0.0.`host`.
pub(crate) fn free_addr(host: u8) -> Result<String> {
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, host), 0))?;
    Ok(socket.local_addr()?.to_string())
}
