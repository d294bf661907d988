//! How long a certificate lives, as the command line says it.

use std::time::Duration;

use clap::Args;
use vioduct_certs::moment::DAY;

const DAYS_MAX: u32 = 36_500;

/// How long a certificate lives.
#[derive(Debug, Args)]
pub(crate) struct LifeArgs {
    /// Life of the certificate in days.
    #[arg(
        long, default_value_t = 7,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_MAX))
    )]
    days: u32,
    /// Life with its unit, s, m, h or d: `90s`, `12h`. At least 1s, at most 36500d.
    #[arg(long, conflicts_with = "days", value_parser = span)]
    lifetime: Option<Duration>,
}

impl LifeArgs {
    pub(super) fn validity(&self) -> Duration {
        self.lifetime.unwrap_or(DAY * self.days)
    }
}

fn span(text: &str) -> Result<Duration, String> {
    let read = || {
        let unit = text.chars().next_back()?;
        let secs = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        count.checked_mul(secs).map(Duration::from_secs)
    };
    let allowed = Duration::from_secs(1)..=DAY * DAYS_MAX;
    let span = read().filter(|span| allowed.contains(span));
    span.ok_or_else(|| format!("a number and s, m, h or d, from 1s to {DAYS_MAX}d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_a_number_and_a_unit() {
        for (text, secs) in [("1s", 1), ("90s", 90), ("2m", 120), ("12h", 43_200), ("7d", 604_800)]
        {
            assert_eq!(span(text), Ok(Duration::from_secs(secs)));
        }
        for text in ["", "s", "7", "7w", "-1s", "1.5h", "0s", "36501d", "9999999999999999999d", "é"]
        {
            let refused = Err("a number and s, m, h or d, from 1s to 36500d".to_owned());
            assert_eq!(span(text), refused, "{text:?}");
        }
    }
}
