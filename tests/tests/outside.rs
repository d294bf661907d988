//! A project that is no member of the workspace builds on the runtime by its path, and runs.

use std::env;
use std::path::Path;
use std::process::Command;

#[test]
fn a_project_outside_the_workspace_embeds_the_runtime() {
    let test = env::current_exe().expect("the path of this test");
    // target/debug/deps/outside-0123456789abcdef
    let target = test.ancestors().nth(3).expect("a test lies in target/PROFILE/deps");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/outside/Cargo.toml");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--locked", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    let mend =
        "if its lockfile is behind: `cargo metadata` in examples/outside brings it up to date";
    assert!(output.status.success(), "{errors}{mend}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "twice 21 is 42\n", "{errors}");
}
