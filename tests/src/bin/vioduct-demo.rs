//! A cluster of three nodes on this machine: messages flow while one node's certificate is rotated
//! and another's is revoked. Ends with code 1 when anything is not as it should be.

use std::env;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::Value;
use tokio::time::{Instant, interval, timeout};
use vioduct_tests::cluster::{Cluster, link, node};
use vioduct_tests::demo::{Narrator, Traffic};

const NAMES: [&str; 3] = ["n1", "n2", "n3"];
/// The whole story, and each wait in it.
const DEMO_MAX: Duration = Duration::from_secs(30);
const WAIT_MAX: Duration = Duration::from_secs(8);
/// From the new files to the peers' links: a look at the files each second, then a handshake.
const ROTATION_MAX: Duration = Duration::from_secs(2);
const EVICTION_MAX: Duration = Duration::from_secs(2);
/// Messages a second to each node.
const RATE: u32 = 100;

/// Shows a cluster of three nodes on this machine.
#[derive(Debug, Parser)]
#[command(name = "vioduct-demo", about)]
struct Cli {
    /// Leave the cluster running at the end, and say how to use and stop it.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let keep = Cli::parse().keep;
    #[expect(clippy::disallowed_methods, reason = "a person waits for it")]
    let began = Instant::from_std(std::time::Instant::now());
    let narrator = Arc::new(Narrator::new(began));
    let told = timeout(DEMO_MAX, tell(&narrator, keep)).await;
    match told {
        Ok(Ok(())) => {}
        Ok(Err(error)) => narrator.verdict(false, &format!("{error:#}")),
        Err(_elapsed) => narrator.verdict(false, &format!("not done within {DEMO_MAX:?}")),
    }
    let failures = narrator.failures();
    if failures.is_empty() {
        narrator.say("all as it should be");
        return ExitCode::SUCCESS;
    }
    narrator.say(&format!("{} not as it should be:", failures.len()));
    narrator.show(&failures.join("\n"));
    ExitCode::FAILURE
}

/// `VIODUCT_BIN`, else the program beside this one.
fn vioduct() -> Result<PathBuf> {
    if let Some(given) = env::var_os("VIODUCT_BIN") {
        return Ok(given.into());
    }
    let beside = env::current_exe()?.with_file_name("vioduct");
    ensure!(
        beside.exists(),
        "{} is not built: `cargo build -p vioduct-node`, or set VIODUCT_BIN",
        beside.display()
    );
    Ok(beside)
}

async fn tell(narrator: &Arc<Narrator>, keep: bool) -> Result<()> {
    let mut cluster = Cluster::create(vioduct()?, &NAMES).await?;
    narrator.say("a CA was made, and certificates for n1, n2, n3 and one tool (ca issue-all)");
    for name in NAMES {
        cluster.start(name).await?;
        narrator.say(&format!("{name} is a process of its own on {}", cluster.addr(name)));
    }
    let began = narrator.elapsed();
    cluster.healthy(WAIT_MAX).await?;
    let took = narrator.elapsed().saturating_sub(began);
    narrator
        .verdict(true, &format!("every link is up and authenticated on both sides ({took:.1?})"));
    let table = ["cluster", "status", "--certs", "tool", "--cluster", "cluster.toml"];
    narrator.show(&cluster.run(&table).await?);

    let traffic = Traffic::start(&cluster, RATE, narrator)?;
    flow(&traffic, 2).await?;
    rotate(&cluster, narrator).await?;
    flow(&traffic, 2).await?;
    revoke(&cluster, narrator).await?;
    flow(&traffic, 1).await?;
    let totals = traffic.stop().await?;
    let (ok, failed) = (totals.ok, totals.failed);
    let line = format!(
        "messages over it all: {ok} ok, {failed} failed, worst second's p99 {} us",
        totals.p99_us_max
    );
    narrator.verdict(ok > 0 && failed == 0, &line);

    let after = cluster.output(&table).await?;
    narrator.show(&String::from_utf8_lossy(&after.stdout));
    if keep { leave(cluster, narrator) } else { stop(&mut cluster, narrator).await }
}

/// Waits until messages have flowed for some more seconds.
async fn flow(traffic: &Traffic, seconds: u64) -> Result<()> {
    let enough = traffic.totals().ok + seconds * u64::from(RATE) * NAMES.len() as u64 / 2;
    let flowing = async {
        let mut looks = interval(Duration::from_millis(100));
        while traffic.totals().ok < enough {
            looks.tick().await;
        }
    };
    timeout(WAIT_MAX, flowing).await.context("messages do not flow")
}

/// The serial number that n1 sees on its live link to n2.
fn serial_seen(status: &Value) -> Option<String> {
    let serial = link(status, "n1", "n2").pointer("/connection/serial")?;
    serial.as_str().map(str::to_owned)
}

async fn rotate(cluster: &Cluster, narrator: &Narrator) -> Result<()> {
    let up = "a link from n1 to n2";
    let old = cluster.until(Some("n1"), WAIT_MAX, up, serial_seen).await?;
    let issue = ["ca", "issue", "--dir", "ca", "--node", "n2", "--roles", "db,vios"];
    let issue = [&issue[..], &["--out", "n2", "--force"]].concat();
    cluster.run(&issue).await?;
    let began = narrator.elapsed();
    narrator.say("n2 was given a new certificate; it runs on");
    let changed = |status: &Value| serial_seen(status).filter(|serial| *serial != old);
    let new = cluster.until(Some("n1"), WAIT_MAX, "a new serial", changed).await?;
    let took = narrator.elapsed().saturating_sub(began);
    narrator.say(&format!("n1 saw {old} on its live link to n2"));
    narrator.say(&format!("n1 sees {new} now"));
    let line = format!("rotation reached the live link in {took:.2?} (at most {ROTATION_MAX:?})");
    narrator.verdict(took <= ROTATION_MAX, &line);
    Ok(())
}

async fn revoke(cluster: &Cluster, narrator: &Narrator) -> Result<()> {
    cluster.run(&["ca", "revoke", "--dir", "ca", "--node", "n3"]).await?;
    for name in ["n1", "n2"] {
        cluster.run(&["cert", "install", "--dir", name, "--crl", "ca/ca.crl"]).await?;
    }
    let began = narrator.elapsed();
    narrator.say("n3 was revoked; n1 and n2 were given the new revocation list");
    for name in ["n1", "n2"] {
        let cut = |status: &Value| {
            let link = link(status, name, "n3");
            let reason = link["down_reason"].as_str()?.to_owned();
            (link["state"] != "up").then_some(reason)
        };
        let reason = cluster.until(Some(name), WAIT_MAX, "a cut link to n3", cut).await?;
        let took = narrator.elapsed().saturating_sub(began);
        let is_good = took <= EVICTION_MAX && reason.contains("is revoked");
        narrator
            .verdict(is_good, &format!("{name} cut its live link to n3 in {took:.2?}: {reason}"));
    }
    let from = format!("{} ", cluster.addr("n3"));
    let refused = |status: &Value| {
        let dials = node(status, "n1")["refused_dials"].as_array()?;
        let revoked = dials.iter().find(|dial| {
            dial["reason"] == "revoked" && dial["addr"].as_str() == Some(from.trim_end())
        })?;
        Some(revoked["message"].as_str()?.to_owned())
    };
    let message = cluster.until(Some("n1"), WAIT_MAX, "a refused dial of n3", refused).await?;
    narrator.verdict(true, &format!("n3 dialled n1 again and was refused: {message}"));
    Ok(())
}

/// Ends every node in an orderly way.
async fn stop(cluster: &mut Cluster, narrator: &Narrator) -> Result<()> {
    for name in NAMES {
        cluster.signal(name, "TERM").await?;
    }
    for name in NAMES {
        let status = cluster.ended(name).await?;
        narrator.verdict(status.success(), &format!("{name} told to stop: {status}"));
    }
    Ok(())
}

/// Says how to go on with the cluster.
fn leave(cluster: Cluster, narrator: &Narrator) -> Result<()> {
    let (dir, program) = (cluster.dir().display().to_string(), vioduct()?);
    let program = program.display();
    let mut stop = "kill".to_owned();
    for id in cluster.keep() {
        write!(stop, " {id}")?;
    }
    narrator.say("the cluster runs on:");
    narrator.show(&format!(
        "cd {dir}\n\
         {program} cluster status --certs tool --cluster cluster.toml\n\
         {program} cluster ping --certs tool --cluster cluster.toml\n\
         {stop} && rm -r {dir}"
    ));
    Ok(())
}
