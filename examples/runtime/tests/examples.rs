//! Each example runs to its end, and says what `examples/README.md` says it does.

#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::process::Command;

/// Runs an example; gives what it printed.
fn run(program: &str) -> String {
    let output = Command::new(program).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn hello_is_said_over_two_nodes() {
    assert_eq!(run(env!("CARGO_BIN_EXE_hello")), "hello world, from south\n");
}

#[test]
fn a_service_says_whether_it_may_be_asked_again() {
    let printed = run(env!("CARGO_BIN_EXE_service"));
    let lines: Vec<&str> = printed.lines().collect();
    let [first, second, third] = lines[..] else { panic!("{printed}") };
    assert_eq!(first, "HTTP/1.1 200 OK → 500");
    assert_eq!(second, "HTTP/1.1 200 OK → 750");
    assert!(third.starts_with("HTTP/1.1 503 Service Unavailable → not delivered: "), "{third}");
}

#[test]
fn a_failing_actor_lives_three_times() {
    let printed = run(env!("CARGO_BIN_EXE_supervision"));
    let lives: Vec<&str> = printed.lines().filter(|line| line.ends_with("is 2")).collect();
    assert_eq!(lives.len(), 3, "{printed}");
    let ends = printed.matches("panicked: asked to divide by zero").count();
    assert_eq!((ends, printed.lines().last()), (3, Some("given up")), "{printed}");
}

#[test]
fn a_group_is_reached_in_turn_by_key_and_whole_and_a_stranger_is_refused() {
    let printed = run(env!("CARGO_BIN_EXE_groups"));
    let lines: Vec<&str> = printed.lines().collect();
    let turns = ["in turn: atlas on east", "in turn: bible on north", "in turn: comic on west"];
    assert_eq!(lines[..3], turns, "{printed}");
    assert!(lines[3].starts_with("by key: atlas on ") && lines[3] == lines[4], "{printed}");
    assert_eq!(lines[5..8], ["all: any on east", "all: any on north", "all: any on west"]);
    let refused = lines[8];
    let (before, after) =
        ("the stranger: not delivered: actor ", " refuses shelf.WhereIs from this node");
    assert!(refused.starts_with(before) && refused.ends_with(after), "{printed}");
}
