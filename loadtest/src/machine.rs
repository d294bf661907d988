//! What a result was measured on, and by which build.

use std::fmt;
use std::fs;
use std::process::Command;

/// The machine that a program measures on.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// Model of the first processor.
    pub cpu: String,
}

/// The program that measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Build {
    /// Its version.
    pub version: &'static str,
    /// Commit of the source tree that it was built from; absent where that is no longer there.
    pub commit: Option<String>,
    /// Whether the compiler optimised; a debug build measures itself.
    pub optimised: bool,
}

impl Machine {
    /// Looks around. What the system does not say is `unknown`.
    #[must_use]
    pub fn inspect() -> Self {
        let unknown = || "unknown".to_owned();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease");
        let cpu_info = fs::read_to_string("/proc/cpuinfo");
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.map_or_else(|_absent| unknown(), |text| text.trim().to_owned()),
            cpu: cpu_info.ok().as_deref().and_then(cpu_model).unwrap_or_else(unknown),
        }
    }
}

impl Build {
    /// Of the running program.
    #[must_use]
    pub fn inspect() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: commit(),
            optimised: !cfg!(debug_assertions),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cores, {}, Linux {}", self.cores, self.cpu, self.kernel)
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commit = self.commit.as_deref().unwrap_or("none");
        let profile = if self.optimised { "release" } else { "DEBUG: do not use the numbers" };
        write!(f, "{}, commit {commit}, {profile}", self.version)
    }
}

fn cpu_model(cpu_info: &str) -> Option<String> {
    let line = cpu_info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn commit() -> Option<String> {
    let args = ["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short=12", "HEAD"];
    let output = Command::new("git").args(args).output().ok()?;
    let hash = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !hash.is_empty()).then_some(hash)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_processor_model_is_found_among_the_other_lines() {
        let text = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: Some CPU @ 2 GHz\nflags\t: a b";
        assert_eq!(super::cpu_model(text).as_deref(), Some("Some CPU @ 2 GHz"));
    }
}
