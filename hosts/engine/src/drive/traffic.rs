//! What comes over the link and how it is answered for: outcomes, messages, and the link's own end.

use tokio::time::{Instant, sleep};

use super::{Combined, Drive, End, RETRY, failed, unconfirmed};
use crate::broker::{BrokerError, Delivery, Event, Source};
use crate::contract::{Receipt, Verdict};
use crate::replica::Ended;

impl Drive {
    /// Connects, however long it takes.
    pub(super) async fn attach(&mut self) -> Result<(), End> {
        let (mut pause, pause_max) = RETRY;
        loop {
            match self.broker.attach(self.attachment.clone()).await {
                Ok(mut link) => {
                    if self.serves_anyone {
                        link.serve_anyone(true);
                    }
                    self.link = Some(link);
                    self.links += 1;
                    return Ok(());
                }
                Err(BrokerError::Unreachable(_)) => sleep(pause).await,
                Err(error @ (BrokerError::Refused(_) | BrokerError::TakenOver)) => {
                    return Err(End(Ended::Refused(error)));
                }
            }
            pause = (pause * 2).min(pause_max);
        }
    }

    pub(super) async fn hear(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Settled(receipts) => self.settle(receipts).await,
            Event::Delivered(deliveries) => self.receive(&deliveries).await,
            Event::Broken(error) => {
                self.link_broke(error)?;
                self.attach().await?;
                // What was under way over the link that broke may or may not have arrived.
                let unsettled = std::mem::take(&mut self.unsettled);
                self.settle(failed(unsettled)).await
            }
        }
    }

    pub(super) fn link_broke(&mut self, error: BrokerError) -> Result<(), End> {
        self.link = None;
        self.combined.clear();
        match error {
            BrokerError::Unreachable(_) => Ok(()),
            BrokerError::Refused(_) | BrokerError::TakenOver => Err(End(Ended::Refused(error))),
        }
    }

    pub(super) async fn settle(&mut self, receipts: Vec<Receipt>) -> Result<(), End> {
        for receipt in &receipts {
            self.unsettled.remove(&receipt.id);
            for waiting in self.waiting.remove(&receipt.id).unwrap_or_default() {
                let response = match receipt.verdict {
                    Verdict::Confirmed => waiting.response,
                    Verdict::Failed | Verdict::Unroutable => unconfirmed(&self.attachment.name),
                };
                let _ = waiting.answer.send(response);
            }
        }
        if receipts.is_empty() {
            return Ok(());
        }
        let effects = self.instance.settle(&receipts)?;
        self.perform(effects).await?;
        self.acknowledge_combined();
        Ok(())
    }

    pub(super) async fn receive(&mut self, deliveries: &[Delivery]) -> Result<(), End> {
        self.idle_since = Instant::now();
        let bodies: Vec<&[u8]> = deliveries.iter().map(|delivery| delivery.body.as_ref()).collect();
        let effects = self.instance.receive(&bodies)?;
        let mut tags = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            match delivery.source {
                Source::Inbox | Source::Anyone => tags.push(delivery.tag),
                Source::Combiner => self.combined.push(Combined { tag: delivery.tag, ticked: false }),
            }
        }
        // Its frames go out first: an answer to a request is on its way before the request is forgotten.
        let links = self.links;
        self.perform(effects).await?;
        if let Some(link) = self.link.as_mut().filter(|_| links == self.links) {
            link.acknowledge(&tags);
        }
        Ok(())
    }

    /// Lets the broker forget messages of `combiner`: those that a tick has come after, once no frame is under way. So
    /// the frame that was made of them has been confirmed, whichever it was.
    pub(super) fn acknowledge_combined(&mut self) {
        if self.combined.is_empty() || !self.unsettled.is_empty() {
            return;
        }
        let done: Vec<u64> =
            self.combined.extract_if(.., |message| message.ticked).map(|message| message.tag).collect();
        if let Some(link) = &mut self.link {
            link.acknowledge(&done);
        }
    }
}
