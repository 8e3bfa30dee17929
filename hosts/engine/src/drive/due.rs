//! What becomes due by time alone: ticks, answers that are not waited for any longer, and the ends of awake periods.

use std::time::Duration;

use tokio::time::Instant;

use super::{Drive, End, TICK_MIN, WAIT_MAX};
use crate::contract::Timestamp;
use crate::replica::Lease;
use crate::world::system_now_ms;

/// An awake period ends this long before what was announced, unless its lease says otherwise: the promise is to be
/// frozen by then.
const FREEZE_MARGIN_MS: u64 = 50;

impl Drive {
    /// Does what has become due; several things may have.
    pub(super) async fn do_what_is_due(&mut self) -> Result<(), End> {
        let now_ms = system_now_ms();
        if self.next_tick_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            self.last_tick = Instant::now();
            // The tick that was asked for is this one; what the call asks for comes after it.
            self.next_tick_ms = None;
            let effects = self.instance.tick()?;
            self.carry_out(effects);
        }
        self.give_up_waiting();
        self.save_if_due()?;
        let Some(until_ms) = self.awake_until_ms else { return Ok(()) };
        match self.options.lease {
            Lease::Standing { lease_ms } => {
                if now_ms + lease_ms / 2 >= until_ms {
                    self.wake(now_ms + lease_ms).await?;
                }
            }
            Lease::Invoked { .. } | Lease::Granted { .. } => {
                let quiet = self.quiet_at().is_some_and(|at| at <= Instant::now());
                if now_ms + self.freeze_margin_ms() >= until_ms || quiet {
                    self.suspend().await?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.quiet
            && self.unsettled.is_empty()
            && self.waiting.is_empty()
            && self.handed_in.is_empty()
            && !self.replay_wanted
    }

    /// When it will have been quiet for so long that the awake period ends, if nothing comes until then.
    fn quiet_at(&self) -> Option<Instant> {
        let quiet_ms = match self.options.lease {
            Lease::Standing { .. } => None,
            Lease::Invoked { quiet_ms, .. } => quiet_ms,
            Lease::Granted { .. } => self.quiet_ms,
        };
        let held = Duration::from_millis(self.held_until_ms.saturating_sub(system_now_ms()));
        let at = self.idle_since + Duration::from_millis(quiet_ms?);
        self.is_idle().then(|| at.max(Instant::now() + held))
    }

    /// How long before the announced end of an awake period its freeze begins.
    fn freeze_margin_ms(&self) -> u64 {
        match self.options.lease {
            Lease::Standing { .. } | Lease::Invoked { .. } => FREEZE_MARGIN_MS,
            Lease::Granted { margin_ms, .. } => margin_ms,
        }
    }

    /// When something will be due at the earliest.
    pub(super) fn wait_until(&self) -> Instant {
        let (now, now_ms) = (Instant::now(), system_now_ms());
        let at = |at_ms: Timestamp| now + Duration::from_millis(at_ms.saturating_sub(now_ms));
        let mut earliest = now + WAIT_MAX;
        if let Some(tick_ms) = self.next_tick_ms {
            earliest = earliest.min(at(tick_ms).max(self.last_tick + TICK_MIN));
        }
        if let Some(until_ms) = self.awake_until_ms {
            earliest = earliest.min(match self.options.lease {
                Lease::Standing { lease_ms } => at(until_ms.saturating_sub(lease_ms / 2)),
                Lease::Invoked { .. } | Lease::Granted { .. } => at(until_ms.saturating_sub(self.freeze_margin_ms())),
            });
        }
        if let Some(quiet_at) = self.quiet_at() {
            earliest = earliest.min(quiet_at);
        }
        if let Some(save_at) = self.next_save() {
            earliest = earliest.min(save_at);
        }
        let confirms = self.waiting.values().flatten().map(|waiting| waiting.until).min();
        confirms.map_or(earliest, |until| earliest.min(until))
    }
}
