//! The table of cluster management: `[cm]`.

use serde::Deserialize;
use vioduct_vios::cluster::cm::RegisterLimits;
use vioduct_vios::redirect::limits::LimitError;

use super::WrongSetting;
use super::disks::wrong;
use super::transport::{millis, set};

/// How a node follows its cluster's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CmSettings {
    /// The computing electronic complex of its VIOS, which registers; without one the node only
    /// follows.
    pub cec: Option<u32>,
    /// When a registration is given up.
    pub limits: RegisterLimits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCm {
    cec: Option<u32>,
    attempts: Option<u32>,
    answer_within_ms: Option<u32>,
    pause_ms: Option<u32>,
}

impl RawCm {
    pub(super) fn checked(self) -> Result<CmSettings, WrongSetting> {
        let Self { cec, attempts, answer_within_ms, pause_ms } = self;
        let mut limits = RegisterLimits::default();
        set(&mut limits.attempts, attempts);
        set(&mut limits.answer_within, answer_within_ms.map(millis));
        set(&mut limits.pause, pause_ms.map(millis));
        limits.validate().map_err(|LimitError { name, value, min, max }| {
            if name == "attempts" {
                return wrong("cm.attempts", value, format!("{min} to {max}"));
            }
            let shown = |nanos: u128| format!("{} ms", nanos / 1_000_000);
            let bound = format!("{} to {}", shown(min), shown(max));
            wrong(format!("cm.{name}_ms"), shown(value), bound)
        })?;
        Ok(CmSettings { cec, limits })
    }
}
