//! Three nodes: messages flow while one node's certificate is rotated and another's is revoked.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::time::{interval, timeout};

use super::{Narrator, Traffic};
use crate::cluster::{Cluster, link, node};

const NAMES: [&str; 3] = ["n1", "n2", "n3"];
/// Each wait.
const WAIT_MAX: Duration = Duration::from_secs(8);
/// From the new files to the peers' links: a look at the files each second, then a handshake.
const ROTATION_MAX: Duration = Duration::from_secs(2);
const EVICTION_MAX: Duration = Duration::from_secs(2);
/// Messages a second to each node.
const RATE: u32 = 100;

/// Tells it.
///
/// # Errors
/// Something did not happen at all.
pub async fn tell(narrator: &Arc<Narrator>, vioduct: PathBuf, keep: bool) -> Result<()> {
    let mut cluster = Cluster::create(vioduct.clone(), &NAMES).await?;
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
    if keep { leave(cluster, &vioduct, narrator) } else { stop(&mut cluster, narrator).await }
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
fn leave(cluster: Cluster, vioduct: &Path, narrator: &Narrator) -> Result<()> {
    let dir = cluster.dir().display().to_string();
    let program = vioduct.display();
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
