//! What a run is like: drawn from its seed, so that seeds differ in kind and not only in chance.

use dayfly_core::config::Config;

use crate::chance::Chance;

/// The least log that there may be, in bytes.
const LOG_BYTES: u64 = 16 << 20;

/// Chances are in thousandths, times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Replicas at the begin, the founder included.
    pub founders: usize,
    /// The most replicas that live at once.
    pub nodes_max: usize,
    /// For how long there are faults.
    pub storm_ms: u64,
    /// The pause between two requests, on average.
    pub request_ms: u64,
    /// Whether keys are deleted and fields removed.
    pub deletes: bool,
    /// The pause between two deeds of the platform, on average.
    pub platform_ms: u64,
    /// Whether all are killed at once, now and then; there is a log then.
    pub falls: bool,
    /// Whether the log grows by more than the replicas write.
    pub fills_log: bool,
    /// Whether replicas are killed or leave.
    pub kills: bool,
    /// Whether replicas are frozen.
    pub freezes: bool,
    /// Whether some sleep for longer than the retention.
    pub long_sleeps: bool,
    /// Whether clocks jump.
    pub jumps: bool,
    /// Whether replicas are saved, and newcomers begin with what was saved.
    pub checkpoints: bool,
    /// A frame does not get to one of its inboxes.
    pub loss: u64,
    /// A frame gets there twice.
    pub duplication: u64,
    /// A frame is late.
    pub lateness: u64,
    /// How late, at most.
    pub late_ms: u64,
    /// A publish is not confirmed.
    pub failure: u64,
    /// How long a host takes to publish the next frame, at most.
    pub publish_ms: u64,
    /// How long a confirmation takes, at most.
    pub confirm_ms: u64,
    /// The bound of an inbox.
    pub inbox_bytes: usize,
    /// How long an awake period lasts.
    pub lease_ms: u64,
    /// The most frames a call of `receive`.
    pub batch: u64,
    /// The configuration of all.
    pub config: Config,
    /// How often replicas speak to their neighbours in an overlay; none: they speak to everyone.
    pub overlay_ms: Option<u32>,
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut chance = Chance::new(seed, "plan");
        let mut pick = |choices: &[u64]| choices[chance.below(choices.len() as u64) as usize];
        let mut config = Config::usual("simulated");
        config.retention_ms = pick(&[5_000, 20_000, 60_000]);
        config.skew_ms = pick(&[0, 100, 2_000]);
        config.burst_ms = pick(&[0, 5, 50, 200]) as u32;
        config.frame_bytes = pick(&[4_096, 4_096, 16_384]) as u32;
        config.repair_bytes = config.frame_bytes * pick(&[1, 3, 16]) as u32;
        config.bootstrap_ms = pick(&[200, 600, 1_500]) as u32;
        let mut plan = Self {
            falls: false,
            fills_log: false,
            founders: pick(&[1, 2, 3, 5]) as usize,
            nodes_max: pick(&[3, 5, 8]) as usize,
            storm_ms: pick(&[5_000, 15_000, 30_000]),
            request_ms: pick(&[20, 60, 200]),
            deletes: pick(&[0, 1]) == 1,
            platform_ms: pick(&[300, 1_000, 3_000]),
            kills: pick(&[0, 1, 1]) == 1,
            freezes: pick(&[0, 1, 1]) == 1,
            long_sleeps: pick(&[0, 0, 1]) == 1,
            jumps: pick(&[0, 1]) == 1,
            checkpoints: pick(&[0, 0, 1]) == 1,
            loss: pick(&[0, 0, 20, 100, 300]),
            duplication: pick(&[0, 50, 300]),
            lateness: pick(&[0, 100, 500]),
            late_ms: pick(&[50, 500, 3_000]),
            failure: pick(&[0, 0, 50, 300]),
            publish_ms: pick(&[0, 1, 20]),
            confirm_ms: pick(&[5, 50, 1_000]),
            inbox_bytes: pick(&[8_192, 1 << 20, 1 << 20]) as usize,
            lease_ms: pick(&[1_000, 5_000, 60_000]),
            batch: pick(&[1, 4, 300]),
            config,
            overlay_ms: None,
        };
        // Drawn last, so that these do not change what a seed is like otherwise.
        if pick(&[0, 0, 1]) == 1 {
            plan.config.combine_above = pick(&[0, 1, 2, 3]) as u32;
            plan.config.combine_ms = pick(&[20, 50, 200]) as u32;
        }
        if pick(&[0, 0, 1]) == 1 {
            plan.config.log_bytes = LOG_BYTES;
            plan.falls = plan.kills && pick(&[0, 1]) == 1;
            plan.fills_log = pick(&[0, 1]) == 1;
        }
        let overlay_ms = pick(&[0, 0, 0, 20, 100, 300]) as u32;
        // A log has nothing of what goes along links.
        plan.overlay_ms = (overlay_ms > 0 && plan.config.log_bytes == 0).then_some(overlay_ms);
        plan
    }

    /// A cluster without faults, whose replicas are awake throughout.
    pub fn calm() -> Self {
        Self {
            founders: 1,
            nodes_max: 64,
            storm_ms: 0,
            request_ms: 1_000,
            deletes: false,
            platform_ms: 1_000,
            falls: false,
            fills_log: false,
            kills: false,
            freezes: false,
            long_sleeps: false,
            jumps: false,
            checkpoints: false,
            loss: 0,
            duplication: 0,
            lateness: 0,
            late_ms: 0,
            failure: 0,
            publish_ms: 0,
            confirm_ms: 2,
            inbox_bytes: 64 << 20,
            lease_ms: 3_600_000,
            batch: 300,
            config: Config::usual("simulated"),
            overlay_ms: None,
        }
    }

    /// Whether so many may be awake that what is for everyone goes through the combiner.
    pub fn combines(&self) -> bool {
        (self.config.combine_above as usize) < self.nodes_max
    }

    /// The same without faults from now on. Clocks stay as wrong as they are.
    pub fn quieten(&mut self) {
        self.kills = false;
        self.falls = false;
        self.fills_log = false;
        self.freezes = false;
        self.jumps = false;
        self.loss = 0;
        self.duplication = 0;
        self.lateness = 0;
        self.failure = 0;
        self.confirm_ms = self.confirm_ms.min(20);
    }
}
