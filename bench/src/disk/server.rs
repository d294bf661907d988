//! A server, or a chain of them, as processes of this one.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

use super::node::{self, PHYP, STORAGE, VIOSES};
use super::rows::Contender;

/// How long a server may take to listen.
const START_MAX: Duration = Duration::from_secs(20);
/// How often it is looked whether a peer does.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A contender that serves.
#[derive(Debug)]
pub(crate) struct Server {
    contender: Contender,
    socket: PathBuf,
    processes: Vec<Child>,
    /// For processes of ours.
    mtu_max: Option<u16>,
}

impl Server {
    /// Starts it on a disk of so many bytes in `dir`.
    pub(crate) async fn start(
        contender: Contender,
        dir: &Path,
        bytes: u64,
        mtu_max: Option<u16>,
    ) -> Result<Self> {
        let home = dir.join(contender.to_string());
        std::fs::create_dir(&home).with_context(|| format!("make {}", home.display()))?;
        let socket = home.join("disk.sock");
        let mut server = Self { contender, socket, processes: Vec::new(), mtu_max };
        match contender {
            Contender::File => {
                let file = disk(dir, bytes)?;
                let mut command = own("file")?;
                command.arg("--file").arg(file).arg("--socket").arg(&server.socket);
                server.announced(command).await?;
            }
            Contender::QemuNbd => {
                let image = image(&disk(dir, bytes)?);
                server.qemu(&image, &server.socket.clone()).await?;
            }
            Contender::Nbdkit => {
                let mut command = Command::new("nbdkit");
                command.args(["--foreground", "--exit-with-parent", "--unix"]).arg(&server.socket);
                command.arg("file").arg(disk(dir, bytes)?);
                server.listening(command, &server.socket.clone()).await?;
            }
            Contender::QemuChain => {
                let far = home.join("far.sock");
                server.qemu(&image(&disk(&home, bytes)?), &far).await?;
                let path = format!("driver=raw,file.driver=nbd,file.path={}", far.display());
                server.qemu(&path, &server.socket.clone()).await?;
            }
            Contender::OneProcess | Contender::OneProcessRedirected => {
                node::issue(&home)?;
                let mut command = server.own_node("cluster", &home)?;
                command.arg("--volume").arg(home.join("volume"));
                command.arg(format!("--bytes={bytes}")).arg("--socket").arg(&server.socket);
                if contender == Contender::OneProcessRedirected {
                    command.arg("--redirected");
                }
                server.announced(command).await?;
            }
            Contender::Processes => server.nodes(&home, bytes, true).await?,
            Contender::ProcessesRedirected => server.nodes(&home, bytes, false).await?,
        }
        Ok(server)
    }

    /// A process for the storage, each VIOS and the client's side; without its fabric the first
    /// VIOS goes by the second.
    async fn nodes(&mut self, home: &Path, bytes: u64, has_fabric: bool) -> Result<()> {
        node::issue(home)?;
        let mut command = self.own_node("storage", home)?;
        command.arg("--volume").arg(home.join("volume")).arg(format!("--bytes={bytes}"));
        let said = self.announced(command).await?;
        let (storage, fabric) = said.split_once(' ').context("two addresses of the storage")?;
        let mut peers = vec![format!("--peer={STORAGE}={storage}")];
        for (number, name) in [(2, VIOSES[1]), (1, VIOSES[0])] {
            let mut command = self.own_node("vios", home)?;
            command.arg(format!("--number={number}")).args(peers.iter().skip(1));
            if has_fabric || number != 1 {
                command.arg(format!("--fabric={fabric}"));
            }
            let addr = self.announced(command).await?;
            peers.push(format!("--peer={name}={addr}"));
        }
        let mut command = self.own_node(PHYP, home)?;
        command.args(&peers).arg("--socket").arg(&self.socket);
        self.announced(command).await.map(|_nothing| ())
    }

    fn own_node(&self, role: &str, home: &Path) -> Result<Command> {
        let mut command = own(role)?;
        command.arg("--credentials").arg(home);
        command.args(self.mtu_max.map(|bytes| format!("--mtu-max={bytes}")));
        Ok(command)
    }

    async fn qemu(&mut self, image: &str, socket: &Path) -> Result<()> {
        let mut command = Command::new("qemu-nbd");
        command.args(["--persistent", "--shared=8", "--cache=writeback", "--discard=unmap"]);
        command.arg("--image-opts").arg("--socket").arg(socket).arg(image);
        self.listening(command, socket).await
    }

    /// Starts a process of ours, and waits for its first line.
    async fn announced(&mut self, mut command: Command) -> Result<String> {
        let mut process = command.stdout(Stdio::piped()).spawn().context("start a server")?;
        let stdout = process.stdout.take().context("the server's output is not piped")?;
        self.processes.push(process);
        let line = timeout(START_MAX, BufReader::new(stdout).lines().next_line()).await;
        let line = line.context("the server did not start in time")??;
        line.context("the server ended before it served")
    }

    /// Starts a peer, and waits until it listens.
    async fn listening(&mut self, mut command: Command, socket: &Path) -> Result<()> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let name = command.as_std().get_program().to_string_lossy().into_owned();
        let process = command.spawn().with_context(|| format!("start {name}"))?;
        self.processes.push(process);
        let listens = async {
            let mut look = interval(LOOK_EVERY);
            while UnixStream::connect(socket).await.is_err() {
                look.tick().await;
            }
        };
        timeout(START_MAX, listens).await.with_context(|| format!("{name} does not listen"))
    }

    pub(crate) fn contender(&self) -> Contender {
        self.contender
    }

    /// Its address.
    pub(crate) fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket.display())
    }

    /// Its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.iter().filter_map(Child::id).collect()
    }

    /// Ends its processes, the last one first.
    pub(crate) async fn stop(mut self) -> Result<()> {
        while let Some(mut process) = self.processes.pop() {
            let ended = process.try_wait().context("look after a server")?;
            ensure!(ended.is_none(), "a process of {} ended early", self.contender);
            process.kill().await.context("end a server")?;
        }
        Ok(())
    }
}

/// The file that the servers of one directory share.
fn disk(dir: &Path, bytes: u64) -> Result<PathBuf> {
    let path = dir.join("disk.img");
    let file = std::fs::File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("make {}", path.display()))?;
    file.set_len(bytes).context("the size of a disk")?;
    Ok(path)
}

/// As `--image-opts` has it. Without a lock, for others have the same file open.
fn image(file: &Path) -> String {
    format!("driver=raw,file.driver=file,file.locking=off,file.filename={}", file.display())
}

/// A server of this program; it ends when its input does.
fn own(role: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.args(["disk-server", role]).stdin(Stdio::piped()).kill_on_drop(true);
    command.env("RUST_LIB_BACKTRACE", "0");
    Ok(command)
}
