//! Who gets a request: one invocation at a time for a replica, the most recently used idle one first.

use std::sync::Arc;
use std::time::Duration;

use dayfly_engine::contract::{Request, Response};
use dayfly_engine::{InvokeError, Replica};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::platform::{Platform, Region, State};
use crate::serve::Refusal;

/// How long a request waits for a replica.
const QUEUE_WAIT: Duration = Duration::from_secs(10);

/// The permit to invoke a replica. Whoever waits is told when it is given back.
struct Turn {
    platform: Arc<Platform>,
    replica: Replica,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.permit = None;
        self.platform.tell_waiting();
    }
}

/// What is to be done for a request.
enum Choice {
    Invoke(Replica, OwnedSemaphorePermit),
    Start(usize),
    Wait(oneshot::Receiver<()>),
    Refuse(&'static str),
}

impl Platform {
    /// Has some replica answer.
    pub async fn invoke(self: &Arc<Self>, request: Request) -> Result<Response, Refusal> {
        let deadline = Instant::now() + QUEUE_WAIT;
        loop {
            let turn = self.turn(deadline).await?;
            match turn.replica.invoke(request.clone()).await {
                Ok(response) => {
                    self.traffic.count(&request, &response);
                    return Ok(response);
                }
                // It ended in between; another one can have the request.
                Err(InvokeError::NotTaken) if Instant::now() < deadline => {}
                Err(InvokeError::NotTaken) => {
                    return Err(Refusal::NoReplica("replicas ended before they took the request".to_owned()));
                }
                Err(InvokeError::InDoubt) => return Err(Refusal::InDoubt),
            }
        }
    }

    /// Has the replica of this name answer.
    pub async fn invoke_on(self: &Arc<Self>, name: &str, request: Request) -> Result<Response, Refusal> {
        let gone = || Refusal::NoReplica(format!("no replica named {name} lives here"));
        let found = {
            let state = self.lock();
            let living = state.slots.get(name).filter(|slot| slot.verdict.is_none() && !state.closed);
            living.map(|slot| (slot.replica.clone(), slot.turn()))
        };
        let (replica, turn) = found.ok_or_else(gone)?;
        let permit = timeout(QUEUE_WAIT, turn.acquire_owned())
            .await
            .map_err(|_| Refusal::NoReplica(format!("the replica {name} is busy")))?
            // It is never closed.
            .map_err(|_| gone())?;
        self.note_use(name);
        let turn = Turn { platform: Arc::clone(self), replica, permit: Some(permit) };
        match turn.replica.invoke(request.clone()).await {
            Ok(response) => {
                self.traffic.count(&request, &response);
                Ok(response)
            }
            Err(InvokeError::NotTaken) => Err(gone()),
            Err(InvokeError::InDoubt) => Err(Refusal::InDoubt),
        }
    }

    fn note_use(&self, name: &str) {
        let mut state = self.lock();
        state.uses += 1;
        let uses = state.uses;
        let State { slots, order, .. } = &mut *state;
        if let Some(slot) = slots.get_mut(name)
            && order.remove(&slot.used).is_some()
        {
            slot.used = uses;
            order.insert(uses, name.to_owned());
        }
    }

    async fn turn(self: &Arc<Self>, deadline: Instant) -> Result<Turn, Refusal> {
        let mut waited = false;
        loop {
            let choice = self.choose(waited);
            match choice {
                Choice::Invoke(replica, permit) => {
                    self.note_use(replica.name());
                    return Ok(Turn { platform: Arc::clone(self), replica, permit: Some(permit) });
                }
                Choice::Start(region) => {
                    self.start(region, false).await.map_err(|error| Refusal::NoReplica(error.to_string()))?;
                }
                Choice::Wait(told) => {
                    // Who is dropped from the queue without being told has no platform any more.
                    if !matches!(timeout_at(deadline, told).await, Ok(Ok(()))) {
                        return Err(Refusal::NoReplica("all replicas are busy".to_owned()));
                    }
                    waited = true;
                }
                Choice::Refuse(reason) => return Err(Refusal::NoReplica(reason.to_owned())),
            }
        }
    }

    /// Which replica gets a request: of the awake ones that are idle the one that was used last; else of the frozen
    /// ones the one that was used last; else a new one; else the request waits.
    fn choose(&self, waited: bool) -> Choice {
        let mut state = self.lock();
        if state.closed {
            return Choice::Refuse("the cluster is ending");
        }
        // Who comes while others wait, waits behind them; who has waited does not begin again at the end.
        if waited || state.waiting.is_empty() {
            let mut frozen = None;
            for name in state.order.values().rev() {
                let Some(slot) = state.slots.get(name) else { continue };
                let Some(permit) = slot.try_turn() else { continue };
                if slot.is_awake() {
                    return Choice::Invoke(slot.replica.clone(), permit);
                }
                frozen = frozen.or_else(|| Some((slot.replica.clone(), permit)));
            }
            if let Some((replica, permit)) = frozen {
                return Choice::Invoke(replica, permit);
            }
            let starting: usize = state.starting.iter().sum();
            if state.slots.len() + starting < self.settings.replicas_max {
                return Choice::Start(self.barest_region(&state));
            }
        }
        if state.waiting.len() >= self.settings.queue_max {
            return Choice::Refuse("all replicas are busy, and as many requests wait as may");
        }
        let (tell, told) = oneshot::channel();
        if waited {
            state.waiting.push_front(tell);
        } else {
            state.waiting.push_back(tell);
        }
        Choice::Wait(told)
    }

    /// The region that lacks most of its number.
    pub(super) fn barest_region(&self, state: &State) -> usize {
        let regions = self.settings.regions.iter().enumerate();
        let lack = |(region, Region { number, .. }): (usize, &Region)| {
            let alive = state.slots.values().filter(|slot| slot.region == region).count() + state.starting[region];
            (*number as i64 - alive as i64, region)
        };
        regions.map(lack).max().map_or(0, |(_, region)| region)
    }

    /// Tells the first who waits that there may be a replica.
    pub(super) fn tell_waiting(&self) {
        let mut state = self.lock();
        // Some may have gone away.
        while let Some(tell) = state.waiting.pop_front() {
            if tell.send(()).is_ok() {
                return;
            }
        }
    }
}
