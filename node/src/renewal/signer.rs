//! Runs the operator's command that has a request signed.
//!
//! | what | where |
//! |---|---|
//! | the request, PEM | the command's standard input |
//! | the node's name | its environment, `VIODUCT_NODE` |
//! | the certificate, and revocation lists if it likes, PEM | its standard output |
//! | why not | its standard error, and an exit code that is not 0 |
//!
//! It has answered when it has ended and closed both outputs. A process that it leaves behind may
//! hold them open, as the master of a shared `ssh` connection does: [`GRACE`] after the command's
//! end they are read no further, and what came until then counts.

use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;
use vioduct_certs::identity::NodeName;

use crate::config::RenewalConfig;

/// Largest answer in bytes: eight revocation lists of the largest size, as PEM, and a certificate.
const ANSWER_MAX: usize = 12 << 20;
/// Bytes of the command's last words that are kept.
const SAID_MAX: usize = 1024;
/// How long outputs that stay open are read after the command has ended. What it wrote itself lies
/// in the pipes by then.
const GRACE: Duration = Duration::from_millis(500);
const NODE_VARIABLE: &str = "VIODUCT_NODE";

/// Why the renewal command gave no answer. Fault: the command's, or that of the CA it asks.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// It could not be run.
    #[error("can't run the renewal command {program:?}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It was killed after `after`.
    #[error("the renewal command took longer than {} ms{}", after.as_millis(), Said(said))]
    Late {
        /// How long it was waited for.
        after: Duration,
        /// Its last words, at most 1024 bytes.
        said: String,
    },
    /// It ended with another code than 0.
    #[error("the renewal command failed, {status}{}", Said(said))]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// Its last words, at most 1024 bytes.
        said: String,
    },
    /// It printed more than any answer holds.
    #[error("the renewal command printed more than {ANSWER_MAX} bytes")]
    TooLarge,
    /// Its output could not be read.
    #[error("can't read what the renewal command prints")]
    Pipe(#[source] io::Error),
}

/// Last words as the end of a message.
struct Said<'a>(&'a str);

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

/// Gives the command the request and returns what it prints.
///
/// Bounded by the configured time. Not cancel-safe: the command is killed when this is dropped.
pub(super) async fn run(
    config: &RenewalConfig,
    node: &NodeName,
    request: &[u8],
) -> Result<Vec<u8>, SignError> {
    let program = &config.program;
    let start = |source| SignError::Start { program: program.clone(), source };
    let mut child = Command::new(program)
        .args(&config.args)
        .env(NODE_VARIABLE, node.as_str())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    let stdin = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut answer, mut said) = (Vec::new(), Vec::new());
    let talk = async {
        let give = async {
            if let Some(mut stdin) = stdin {
                // A command that does not read its input tells by its answer what it thinks of it.
                stdin.write_all(request).await.ok();
            }
        };
        let pipes = async {
            let outputs = (all(stdout, &mut answer), last_words(stderr, &mut said));
            let ((), read, ()) = tokio::join!(give, outputs.0, outputs.1);
            read
        };
        let mut pipes = pin!(pipes);
        let (status, read) = tokio::select! {
            read = &mut pipes => (child.wait().await, read),
            status = child.wait() => (status, timeout(GRACE, &mut pipes).await.unwrap_or(Ok(()))),
        };
        read?;
        status.map_err(SignError::Pipe)
    };
    let talked = timeout(config.timeout, talk).await;
    let said = printable(&said);
    let Ok(talked) = talked else {
        return Err(SignError::Late { after: config.timeout, said });
    };
    let status = talked?;
    if status.success() { Ok(answer) } else { Err(SignError::Failed { status, said }) }
}

/// All that comes, but no more than an answer may hold: then the pipe is closed.
async fn all(from: Option<impl AsyncRead + Unpin>, read: &mut Vec<u8>) -> Result<(), SignError> {
    let Some(from) = from else { return Ok(()) };
    let bound = ANSWER_MAX as u64 + 1;
    from.take(bound).read_to_end(read).await.map_err(SignError::Pipe)?;
    if read.len() > ANSWER_MAX { Err(SignError::TooLarge) } else { Ok(()) }
}

async fn last_words(from: Option<impl AsyncRead + Unpin>, said: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut chunk = [0; 512];
    // An error ends the words like their end does.
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        said.extend(chunk.iter().take(count));
        let excess = said.len().saturating_sub(SAID_MAX);
        said.drain(..excess);
    }
}

/// One line without control characters, which a terminal would obey.
fn printable(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let said = said.trim().chars();
    said.map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests;
