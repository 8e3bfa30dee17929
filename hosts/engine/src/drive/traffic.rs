//! What comes over the link and how it is answered for: outcomes, messages, and the link's own end.

use tokio::time::Instant;

use super::answer::unconfirmed;
use super::{Drive, End, failed};
use crate::broker::{Delivery, Event};
use crate::contract::{Receipt, Verdict};

impl Drive {
    pub(super) fn hear(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Settled(receipts) => {
                self.backoff.reset();
                self.settle(&receipts)
            }
            Event::Delivered(deliveries) => {
                self.backoff.reset();
                self.receive(&deliveries)
            }
            Event::Broken(error) => self.link_broke(error),
        }
    }

    /// Fails what no present link knows of.
    pub(super) fn fail_stale(&mut self) -> Result<(), End> {
        let stale = std::mem::take(&mut self.stale);
        self.settle(&failed(stale))
    }

    pub(super) fn settle(&mut self, receipts: &[Receipt]) -> Result<(), End> {
        if receipts.is_empty() {
            return Ok(());
        }
        for receipt in receipts {
            self.counters.settled(receipt, self.unsettled.remove(&receipt.id).flatten());
            for waiting in self.waiting.remove(&receipt.id).unwrap_or_default() {
                let response = match receipt.verdict {
                    Verdict::Confirmed => waiting.response,
                    Verdict::Failed | Verdict::Unroutable => unconfirmed(&self.attachment.name),
                };
                let _ = waiting.answer.send(response);
            }
        }
        let effects = self.instance.settle(receipts)?;
        self.carry_out(effects);
        Ok(())
    }

    pub(super) fn receive(&mut self, deliveries: &[Delivery]) -> Result<(), End> {
        self.idle_since = Instant::now();
        self.counters.received(deliveries);
        let bodies: Vec<&[u8]> = deliveries.iter().map(|delivery| delivery.body.as_ref()).collect();
        let effects = self.instance.receive(&bodies)?;
        let others = self.combining.take(deliveries.iter().map(|delivery| (delivery.source, delivery.tag)));
        // Its frames go out first: an answer to a request is on its way before the request is forgotten.
        self.carry_out(effects);
        if let Some(link) = &mut self.link {
            link.acknowledge(&others);
        }
        Ok(())
    }
}
