use std::time::Duration;

use super::{Command, Scope, Setting};
use crate::fault::Direction;

fn parsed(line: &str) -> Result<Command, String> {
    line.parse().map_err(|error: super::CommandError| error.to_string())
}

#[test]
fn every_command_is_read() {
    let to_target = Scope::Only(Direction::ToTarget);
    let to_client = Scope::Only(Direction::ToClient);
    let ms = Duration::from_millis;
    for (line, command) in [
        ("accept", Command::Accept),
        ("cut", Command::Cut(Scope::Both)),
        ("  cut   to-target ", Command::Cut(to_target)),
        ("heal", Command::Heal),
        ("quit", Command::Quit),
        ("refuse", Command::Refuse),
        ("reset", Command::Reset),
        ("stats", Command::Stats),
        ("delay 5", Command::Set(Setting::Delay(ms(5)), Scope::Both)),
        ("duplicate 0.5 to-client", Command::Set(Setting::Duplicate(0.5), to_client)),
        ("jitter 7 to-target", Command::Set(Setting::Jitter(ms(7)), to_target)),
        ("loss 0.2", Command::Set(Setting::Loss(0.2), Scope::Both)),
        ("rate 1000", Command::Set(Setting::Rate(Some(1000)), Scope::Both)),
        ("rate none", Command::Set(Setting::Rate(None), Scope::Both)),
        ("reorder 1", Command::Set(Setting::Reorder(1.0), Scope::Both)),
        ("reset-after 9 to-client", Command::Set(Setting::ResetAfter(Some(9)), to_client)),
    ] {
        assert_eq!(parsed(line), Ok(command), "{line}");
    }
}

#[test]
fn a_bad_line_is_refused_with_its_word() {
    for (line, error) in [
        ("", "the line holds no command"),
        ("split", "\"split\" is not known here"),
        ("cut sideways", "\"sideways\" is not known here"),
        ("heal now", "\"now\" is not known here"),
        ("cut to-target twice", "\"twice\" is not known here"),
        ("loss", "loss needs a value"),
        ("loss much", "\"much\" is no value for loss"),
        ("delay -1", "\"-1\" is no value for delay"),
        ("rate fast", "\"fast\" is no value for rate"),
    ] {
        assert_eq!(parsed(line), Err(error.to_owned()), "{line}");
    }
}
