//! What goes wrong on a bus, by chance and from a seed.

use crate::world::Chance;

/// Probabilities, each from 0 to 1. All are 0 by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// From which chance is drawn: the same seed and the same calls give the same faults.
    pub seed: u64,
    /// That a copy is lost after the broker confirmed the frame, as a full inbox loses it.
    pub drop: f64,
    /// That a copy is delivered twice.
    pub duplicate: f64,
    /// That a copy is delayed, and so overtaken by others.
    pub delay: f64,
    /// By how many milliseconds at most a delayed copy is.
    pub delay_ms_max: u64,
    /// That publishing a frame is reported failed; half of those arrive all the same.
    pub fail: f64,
}

/// What is to become of one copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// How often it is put into its queue: 0, 1 or 2.
    pub(super) copies: usize,
    /// After how many milliseconds; 0: at once.
    pub(super) delay_ms: u64,
}

/// What is to become of one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Publish {
    Arrives,
    FailsAndArrives,
    FailsAndIsLost,
}

/// Draws faults.
#[derive(Debug)]
pub(super) struct Dice {
    faults: Faults,
    chance: Chance,
}

impl Dice {
    pub(super) fn new(faults: Faults) -> Self {
        Self { chance: Chance::new(faults.seed), faults }
    }

    pub(super) fn publish(&mut self) -> Publish {
        if !self.chance.happens(self.faults.fail) {
            Publish::Arrives
        } else if self.chance.happens(0.5) {
            Publish::FailsAndArrives
        } else {
            Publish::FailsAndIsLost
        }
    }

    pub(super) fn copy(&mut self) -> Fate {
        if self.chance.happens(self.faults.drop) {
            return Fate { copies: 0, delay_ms: 0 };
        }
        let copies = if self.chance.happens(self.faults.duplicate) { 2 } else { 1 };
        let delayed = self.faults.delay_ms_max > 0 && self.chance.happens(self.faults.delay);
        let delay_ms = if delayed { 1 + self.chance.below(self.faults.delay_ms_max) } else { 0 };
        Fate { copies, delay_ms }
    }
}
