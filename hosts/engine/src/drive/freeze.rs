//! How a replica wakes and how it is frozen: `suspend` is called, what it sends is settled, and the link is given up.

use tokio::time::{Instant, sleep_until, timeout};

use super::{BROKER_WAIT, DRAIN_MAX, DRAIN_PAUSE_MAX, Drive, End, HOUR_MS, SETTLE_MAX, next_event};
use crate::broker::Event;
use crate::contract::Timestamp;
use crate::replica::Grant;
use crate::world::system_now_ms;

impl Drive {
    /// Begins an awake period, or prolongs the one that lasts.
    pub(super) async fn wake(&mut self, until_ms: Timestamp) -> Result<(), End> {
        let thawed = self.awake_until_ms.is_none() && self.link.is_none();
        if thawed {
            self.backoff.reset();
            self.reach_broker(BROKER_WAIT).await?;
        }
        if self.awake_until_ms.is_none() {
            self.wakes += 1;
            self.idle_since = Instant::now();
        }
        self.unannounced = self.link.is_none();
        let effects = self.instance.wake(until_ms)?;
        // What is further than an hour is cut by the component; the host has to keep the promise it announces.
        self.awake_until_ms = Some(until_ms.min(system_now_ms() + HOUR_MS));
        self.carry_out(effects);
        if self.anew {
            self.begin_anew().await?;
        }
        if thawed {
            // What was not settled before the freeze never will be: the link is another one.
            self.fail_stale()?;
            self.drain().await?;
        }
        Ok(())
    }

    /// Has it be awake as a platform grants. A period that lasts is not cut short: everyone was told of it.
    pub(super) async fn grant(&mut self, grant: Grant) -> Result<(), End> {
        match grant.quiet_ms {
            None => self.held_until_ms = self.held_until_ms.max(grant.until_ms),
            Some(_) => self.quiet_ms = grant.quiet_ms,
        }
        if self.awake_until_ms.is_none_or(|until_ms| until_ms < grant.until_ms) {
            self.wake(grant.until_ms).await?;
        }
        // What it was granted for comes now.
        self.idle_since = Instant::now();
        Ok(())
    }

    /// The component has started anew: its inbox may be gone, and what was sent over the link belongs to a former life.
    pub(super) async fn begin_anew(&mut self) -> Result<(), End> {
        self.anew = false;
        if let Some(link) = self.link.take() {
            let _ = timeout(SETTLE_MAX, link.detach()).await;
        }
        self.attaching = None;
        self.combining.clear();
        self.reading = None;
        self.reach_broker(BROKER_WAIT).await?;
        self.loaded = false;
        self.load().await?;
        self.fail_stale()
    }

    /// Takes in what waited in the inbox when it was thawed, so that it answers from what it could know.
    pub(super) async fn drain(&mut self) -> Result<(), End> {
        let began = Instant::now();
        let mut backlog = self.link.as_ref().map_or(0, |link| link.backlog());
        while backlog > 0 && began.elapsed() < DRAIN_MAX {
            let Some(link) = self.link.as_mut() else { break };
            let event = match link.try_next() {
                Some(event) => event,
                // A broker hands out a long backlog in several goes.
                None => match timeout(DRAIN_PAUSE_MAX, link.next()).await {
                    Ok(event) => event,
                    Err(_) => break,
                },
            };
            if let Event::Delivered(deliveries) = &event {
                backlog = backlog.saturating_sub(deliveries.len());
            }
            self.hear(event)?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Ends an awake period and freezes. Does nothing to a frozen one.
    pub(super) async fn suspend(&mut self) -> Result<(), End> {
        if self.awake_until_ms.is_none() {
            return Ok(());
        }
        let effects = self.instance.suspend()?;
        self.carry_out(effects);
        self.settle_all().await?;
        self.save().await?;
        self.let_go().await;
        Ok(())
    }

    pub(super) async fn leave(&mut self) -> Result<(), End> {
        if self.link.is_none() {
            self.backoff.reset();
            // A broker that is away keeps nobody from leaving, here and below.
            self.reach_broker(SETTLE_MAX).await?;
        }
        let effects = self.instance.leave()?;
        self.carry_out(effects);
        self.settle_all().await?;
        self.save().await?;
        self.answer_all_unconfirmed();
        if let Some(link) = self.link.take() {
            let _ = timeout(SETTLE_MAX, link.retire()).await;
        }
        Ok(())
    }

    /// Gives up the link: from now on nothing happens until a command comes.
    pub(super) async fn let_go(&mut self) {
        self.awake_until_ms = None;
        self.held_until_ms = 0;
        self.answer_all_unconfirmed();
        self.handed_in.clear();
        if let Some(link) = self.link.take() {
            let _ = timeout(SETTLE_MAX, link.detach()).await;
        }
        self.attaching = None;
        self.serves_anyone = false;
        self.combining.clear();
        self.replay_wanted = false;
        self.reading = None;
    }

    /// Waits for the outcomes of what was sent, within reason.
    pub(super) async fn settle_all(&mut self) -> Result<(), End> {
        let until = Instant::now() + SETTLE_MAX;
        while !self.unsettled.is_empty() && self.link.is_some() {
            let link = self.link.as_mut();
            let event = tokio::select! {
                event = next_event(link) => event,
                () = sleep_until(until) => return Ok(()),
            };
            match event {
                Event::Settled(receipts) => self.settle(&receipts)?,
                // Not taken in and not acknowledged: it comes again after the freeze.
                Event::Delivered(_) => {}
                // What it leaves unsettled is failed by the next wake.
                Event::Broken(error) => return self.link_broke(error),
            }
        }
        Ok(())
    }
}
