//! The whole program, in each layout of threads: it has to end with PASS, and to have shown that
//! late writes were refused on the way there.

use std::process::Command;

fn tells_the_whole_story(threads: &str) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_vioduct-skeleton"));
    let output = program.args(["--threads", threads]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaints}");
    assert_eq!(said.matches("n3: refused of (1, 1)\n").count(), 4, "{said}");
    assert!(said.contains("each as it was acknowledged last\n"), "{said}");
    assert!(said.ends_with("storage: Err(NotTaken)\nPASS\n"), "{said}");
}

#[test]
fn a_disk_outlives_the_path_to_its_storage_with_all_on_one_thread() {
    tells_the_whole_story("one");
}

#[test]
fn a_disk_outlives_the_path_to_its_storage_with_actors_beside_the_links() {
    tells_the_whole_story("beside");
}

#[test]
fn a_disk_outlives_the_path_to_its_storage_with_each_actor_on_a_thread_of_its_own() {
    tells_the_whole_story("apart");
}
