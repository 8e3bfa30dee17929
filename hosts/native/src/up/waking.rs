//! What a keeper from outside asks for: some replica, awake for so long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dayfly_engine::world::system_now_ms;
use dayfly_engine::{Lease, Replica};

use super::platform::Platform;
use super::slot::Slot;
use crate::serve::{Refusal, Woken};

impl Platform {
    /// Wakes the replica of this name for so long, or one that no such wake holds: the one that has been frozen
    /// longest; else one that is awake for another reason; else a new one; and where there is no room for that, the one
    /// that such a wake lets go first.
    pub async fn wake_for(self: &Arc<Self>, name: Option<&str>, period: Duration) -> Result<Woken, Refusal> {
        let began = Instant::now();
        let stands = !matches!(self.settings.lease, Lease::Invoked { .. });
        let (replica, started) = match self.choose_to_wake(name, began + period)? {
            Some(replica) => (replica, None),
            None => {
                let region = self.barest_region(&self.lock());
                let started = self.start(region, false).await;
                let replica = started.map_err(|error| Refusal::NoReplica(error.to_string()))?;
                let replica = replica.ok_or_else(|| Refusal::NoReplica("the cluster is ending".to_owned()))?;
                if let Some(slot) = self.lock().slots.get_mut(replica.name()) {
                    slot.kept_until = Some(began + period);
                }
                (replica, Some(began))
            }
        };
        if !stands && !replica.wake(system_now_ms() + period.as_millis() as u64).await {
            return Err(Refusal::NoReplica("the replica ended before it was awake".to_owned()));
        }
        Ok(Woken { replica, started, stands })
    }

    /// Which replica is woken, and held until then; none: a new one.
    fn choose_to_wake(&self, name: Option<&str>, until: Instant) -> Result<Option<Replica>, Refusal> {
        let now = Instant::now();
        let mut state = self.lock();
        if state.closed {
            return Err(Refusal::NoReplica("the cluster is ending".to_owned()));
        }
        let living = |slot: &&mut Slot| slot.verdict.is_none();
        let slot = match name {
            Some(name) => {
                let slot = state.slots.get_mut(name).filter(living);
                slot.ok_or_else(|| Refusal::NoReplica(format!("no replica named {name} lives here")))?
            }
            None => {
                state.slots.values_mut().for_each(|slot| slot.look(now));
                let has_room = state.slots.len() + state.starting.iter().sum::<usize>() < self.settings.replicas_max;
                // Held ones last, by when they are let go; of the others the longest frozen first.
                let rank = |slot: &&mut Slot| {
                    let held = slot.kept_until.filter(|until| *until > now);
                    (held, slot.frozen_since.is_none(), slot.frozen_since)
                };
                match state.slots.values_mut().filter(living).min_by_key(rank) {
                    Some(slot) if slot.kept_until.is_none_or(|until| until <= now) || !has_room => slot,
                    Some(_) | None if has_room => return Ok(None),
                    Some(_) | None => return Err(Refusal::NoReplica("there is no room for a replica".to_owned())),
                }
            }
        };
        slot.kept_until = slot.kept_until.max(Some(until));
        Ok(Some(slot.replica.clone()))
    }
}
