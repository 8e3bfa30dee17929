//! The bounds of what a scenario may say.

use std::ops::RangeInclusive;

use super::{Clients, Does, Scenario};
use crate::experiment::published;

/// The most replicas: each takes address space and memory.
pub const REPLICAS_MAX: u32 = 20_000;
/// The most memories' address space that the engine gives, in MiB: 64 TiB.
const ADDRESS_MIB_MAX: u64 = 64 << 20;

/// That a number lies in a range; else an error that names it and the range.
fn within(key: &str, value: f64, range: RangeInclusive<f64>) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(format!("{key} is {value}; it must be from {} to {}", range.start(), range.end()))
}

/// That a text is a name.
fn named(key: &str, text: &str) -> Result<(), String> {
    let well = (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    well.then_some(()).ok_or_else(|| format!("{key} is {text:?}; it must be 1 to 32 characters of a-z, 0-9, -"))
}

impl Scenario {
    /// What is wrong, if something is.
    pub(super) fn check(&self) -> Result<(), String> {
        within("title, in characters,", self.title.chars().count() as f64, 1.0..=120.0)?;
        within("warmup_s", self.warmup_s, 0.0..=86_400.0)?;
        within("seconds", self.seconds, 0.001..=2_678_400.0)?;
        within("settle_s", self.settle_s, 0.0..=86_400.0)?;
        self.check_places()?;
        self.check_replica()?;
        self.check_overlays()?;
        self.check_network()?;
        self.check_broker()?;
        self.check_platform()?;
        for clients in &self.clients {
            self.check_clients(clients).map_err(|error| format!("clients {:?}: {error}", clients.name))?;
        }
        for outage in &self.outages {
            self.check_region("outages: region", &outage.region)?;
            within("outages: from_s", outage.from_s, 0.0..=self.seconds)?;
            within("outages: to_s", outage.to_s, outage.from_s..=self.seconds + self.settle_s)?;
        }
        if let Some(every_ms) = self.measure.follow_every_ms {
            within("measure.follow_every_ms", every_ms, 0.0..=86_400_000.0)?;
        }
        self.all_published().map_err(|error| format!("published_from: {error}"))?;
        within("measure.series_s", self.measure.series_s, 0.001..=86_400.0)?;
        within("measure.series_s makes intervals, in number,", self.total_s() / self.measure.series_s, 0.0..=100_000.0)
    }

    fn check_places(&self) -> Result<(), String> {
        within("places, in number,", self.places.len() as f64, 1.0..=64.0)?;
        for place in &self.places {
            named("places: region", &place.region)?;
            named("places: zone", &place.zone)?;
            if let Some(mbit) = place.mbit {
                within("places: mbit", mbit, 0.001..=1_000_000.0)?;
            }
            within("places: start_s", place.start_s, 0.0..=self.total_s())?;
            within("places: spread_s", place.spread_s, 0.0..=self.total_s())?;
        }
        let replicas = self.places.iter().map(|place| u64::from(place.replicas)).sum::<u64>();
        within("the replicas of all places", replicas as f64, 1.0..=f64::from(REPLICAS_MAX))
    }

    fn check_replica(&self) -> Result<(), String> {
        let replica = &self.replica;
        within("replica.frame_kib", replica.frame_kib.into(), 4.0..=1_024.0)?;
        within("replica.retention_s", replica.retention_s, 1.0..=604_800.0)?;
        within("replica.skew_ms", replica.skew_ms as f64, 0.0..=60_000.0)?;
        within("replica.burst_ms", replica.burst_ms.into(), 0.0..=1_000.0)?;
        within("replica.repair_kib", replica.repair_kib.into(), f64::from(replica.frame_kib)..=16_384.0)?;
        within("replica.bootstrap_ms", replica.bootstrap_ms.into(), 1.0..=60_000.0)?;
        within("replica.store_mib", replica.store_mib as f64, 1.0..=1_024.0)?;
        within("replica.combine_above", replica.combine_above.into(), 0.0..=100_000.0)?;
        within("replica.combine_ms", replica.combine_ms.into(), 1.0..=60_000.0)?;
        if replica.log_mib > 0 {
            within("replica.log_mib", replica.log_mib as f64, 16.0..=1_048_576.0)?;
        }
        within("replica.lease_s", replica.lease_s, 1.0..=3_600.0)?;
        within("replica.call_us", replica.call_us as f64, 0.0..=1_000_000.0)?;
        within("replica.kib_us", replica.kib_us as f64, 0.0..=1_000_000.0)?;
        let memory_mib = self.memory_mib();
        within("replica.memory_mib", memory_mib as f64, 1.0..=4_096.0)?;
        let all_mib = memory_mib * u64::from(self.instances());
        within("replica.memory_mib times all environments, in MiB,", all_mib as f64, 0.0..=ADDRESS_MIB_MAX as f64)
    }

    fn check_overlays(&self) -> Result<(), String> {
        for (name, overlay) in &self.overlays {
            named("overlays", name)?;
            within("overlays: title, in characters,", overlay.title.chars().count() as f64, 1.0..=120.0)?;
            within("overlays: interval_ms", overlay.interval_ms.into(), 10.0..=60_000.0)?;
            within("overlays: degree", overlay.degree.into(), 2.0..=64.0)?;
            if !overlay.degree.is_multiple_of(2) {
                return Err(format!("overlays: degree is {}; it must be even", overlay.degree));
            }
            let references = overlay.published_from.iter();
            references.map(|reference| published::named(reference)).try_for_each(|figures| figures.map(drop))?;
        }
        let Some(name) = &self.overlay else { return Ok(()) };
        let Some(overlay) = self.active_overlay() else {
            return Err(format!("overlay is {name:?}, which is none of overlays"));
        };
        if overlay.topology == super::Topology::Mesh && overlay.degree >= self.replicas() {
            return Err(format!("overlays: degree is {}; there are {} replicas", overlay.degree, self.replicas()));
        }
        // Whoever replaces one has another name, and nobody would be its neighbour.
        let platform = &self.platform;
        let stay = platform.kind == super::PlatformKind::Standing && platform.life_s.or(platform.mean_life_s).is_none();
        let is_powered = self.outages.iter().all(|outage| outage.kind != super::OutageKind::Power);
        if !stay || !is_powered || self.replica.log_mib > 0 {
            return Err("in an overlay replicas must stand, none may be killed, and there is no log".to_owned());
        }
        Ok(())
    }

    /// The most memory of an instance, in MiB.
    pub fn memory_mib(&self) -> u64 {
        self.replica.memory_mib.unwrap_or(3 * self.replica.store_mib)
    }

    /// How many instances there may be at once: replicas, what replaces them while they end, and some that count
    /// elements.
    pub fn instances(&self) -> u32 {
        let grown = if self.platform.kind == super::PlatformKind::Functions { self.platform.environments } else { 0 };
        let replicas = self.replicas().max(grown);
        replicas + replicas / 8 + 64
    }

    fn check_network(&self) -> Result<(), String> {
        let network = &self.network;
        // A run goes forward in steps of the least latency: a very small one would make it very slow.
        let latency = 0.05..=10_000.0;
        within("network.same_zone_ms", network.same_zone_ms, latency.clone())?;
        within("network.same_region_ms", network.same_region_ms, latency.clone())?;
        within("network.other_region_ms", network.other_region_ms, latency.clone())?;
        within("network.jitter", network.jitter, 0.0..=10.0)?;
        within("network.replica_mbit", network.replica_mbit, 0.001..=1_000_000.0)?;
        within("network.broker_mbit", network.broker_mbit, 0.001..=1_000_000.0)?;
        for pair in &network.pairs {
            within("network.pairs: ms", pair.ms, latency.clone())?;
            pair.between.iter().try_for_each(|region| self.check_region("network.pairs: between", region))?;
        }
        Ok(())
    }

    /// That a region is one of the places', or the broker's.
    fn check_region(&self, key: &str, region: &str) -> Result<(), String> {
        let known = self.places.iter().any(|place| place.region == region);
        let known = known || self.broker.region.as_deref() == Some(region);
        known.then_some(()).ok_or_else(|| format!("{key} names {region:?}, which is no region of places or broker"))
    }

    fn check_broker(&self) -> Result<(), String> {
        let broker = &self.broker;
        for (key, name) in [("broker.region", &broker.region), ("broker.zone", &broker.zone)] {
            name.as_ref().map_or(Ok(()), |name| named(key, name))?;
        }
        within("broker.inbox_kib", broker.inbox_kib as f64, 1.0..=16_777_216.0)?;
        within("broker.anyone_kib", broker.anyone_kib as f64, 1.0..=16_777_216.0)?;
        within("broker.combiner_kib", broker.combiner_kib as f64, 1.0..=16_777_216.0)?;
        within("broker.prefetch", broker.prefetch.into(), 1.0..=65_535.0)?;
        within("broker.anyone_prefetch", broker.anyone_prefetch.into(), 1.0..=65_535.0)?;
        within("broker.loss", broker.loss, 0.0..=1.0)?;
        within("broker.duplication", broker.duplication, 0.0..=1.0)?;
        within("broker.failure", broker.failure, 0.0..=1.0)?;
        within("broker.connect_ms", broker.connect_ms, 0.0..=60_000.0)?;
        within("broker.message_us", broker.message_us, 0.0..=1_000_000.0)
    }

    fn check_platform(&self) -> Result<(), String> {
        let platform = &self.platform;
        within("platform.cold_start_ms", platform.cold_start_ms, 0.0..=600_000.0)?;
        within("platform.thaw_ms", platform.thaw_ms, 0.0..=600_000.0)?;
        within("platform.awake_s", platform.awake_s, 0.1..=3_600.0)?;
        within("platform.idle_s", platform.idle_s, 0.1..=604_800.0)?;
        let optional = [
            ("platform.quiet_ms", platform.quiet_ms, 0.0..=3_600_000.0),
            ("platform.mean_life_s", platform.mean_life_s, 0.1..=2_678_400.0),
            ("platform.life_s", platform.life_s, 0.1..=2_678_400.0),
            ("platform.wake_every_s", platform.wake_every_s, 0.1..=604_800.0),
        ];
        for (key, value, range) in optional {
            value.map_or(Ok(()), |value| within(key, value, range))?;
        }
        if platform.life_s.is_some() && platform.mean_life_s.is_some() {
            return Err("platform.life_s and platform.mean_life_s exclude each other".to_owned());
        }
        if platform.kind == super::PlatformKind::Functions {
            let replicas = f64::from(self.replicas());
            within("platform.environments", platform.environments.into(), replicas..=f64::from(REPLICAS_MAX))?;
        }
        within("platform.ramp", platform.ramp.into(), 0.0..=1_000_000.0)?;
        within("platform.memory_mib", platform.memory_mib.into(), 128.0..=10_240.0)
    }

    fn check_clients(&self, clients: &Clients) -> Result<(), String> {
        named("name", &clients.name)?;
        within("every_ms", clients.every_ms, 0.1..=2_678_400_000.0)?;
        within("start_s", clients.start_s, -self.warmup_s..=self.seconds)?;
        if let Some(for_s) = clients.for_s {
            within("for_s", for_s, 0.0..=self.seconds - clients.start_s)?;
        }
        if let Some(region) = &clients.region {
            self.check_region("region", region)?;
        }
        match &clients.does {
            Does::Requests(asks) => {
                within("does.requests, in number,", asks.len() as f64, 1.0..=1_000.0)?;
                asks.iter().try_for_each(|ask| within("does.requests: weight", ask.weight, 0.000_001..=1e9))
            }
            Does::Advertise { advertisements } => {
                within("does.advertise: advertisements", (*advertisements).into(), 1.0..=1_000.0)
            }
            Does::TakeDown { advertisements, shown_per_replica } => {
                within("does.take-down: advertisements", (*advertisements).into(), 1.0..=1_000.0)?;
                within("does.take-down: shown_per_replica", *shown_per_replica, 0.001..=1e9)
            }
            Does::ChangeMap { keys, percent } => {
                within("does.change-map: keys", (*keys).into(), 1.0..=1_000_000.0)?;
                within("does.change-map: percent", *percent, 0.001..=100.0)
            }
            Does::Retwis(retwis) => {
                within("does.retwis: users", retwis.users.into(), 2.0..=10_000_000.0)?;
                within("does.retwis: zipf", retwis.zipf, 0.0..=10.0)?;
                within("does.retwis: follow", retwis.follow, 0.0..=100.0)?;
                within("does.retwis: post", retwis.post, 0.0..=100.0 - retwis.follow)?;
                within("does.retwis: post_bytes", retwis.post_bytes.into(), 1.0..=60_000.0)?;
                within("does.retwis: id_bytes", retwis.id_bytes.into(), 20.0..=1_000.0)
            }
            Does::Fill { entries, bytes, batch } => {
                within("does.fill: entries", (*entries).into(), 1.0..=10_000_000.0)?;
                within("does.fill: bytes", (*bytes).into(), 1.0..=60_000.0)?;
                within("does.fill: batch", (*batch).into(), 1.0..=10_000.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::experiment::scenario::Scenario;

    const LEAST: &str = "title = 'x'\nseconds = 10\n[[places]]\nregion = 'eu'\nreplicas = 2\n";

    fn refusal(more: &str) -> String {
        Scenario::read(&format!("{LEAST}{more}")).expect_err("it is wrong").to_string()
    }

    #[test]
    fn the_least_file_has_defaults_for_the_rest() {
        let scenario = Scenario::read(LEAST).expect("it is well");
        assert_eq!((scenario.replicas(), scenario.total_s(), scenario.memory_mib()), (2, 10.0, 192));
        assert_eq!(scenario.places[0].zone, "a");
        let again = toml::to_string(&scenario).expect("it is TOML");
        assert_eq!(Scenario::read(&again).expect("it is well"), scenario);
    }

    #[test]
    fn what_is_out_of_bounds_names_itself_and_the_bound() {
        for (more, parts) in [
            ("[broker]\nloss = 1.5", &["broker.loss is 1.5", "from 0 to 1"][..]),
            ("[broker]\nlose = 0.5", &["unknown field `lose`", "line 7"]),
            ("[network]\nsame_zone_ms = 0", &["network.same_zone_ms is 0", "from 0.05"]),
            ("[replica]\nframe_kib = 2", &["replica.frame_kib is 2"]),
            ("[[places]]\nregion = 'EU'\nreplicas = 1", &["places: region is \"EU\""]),
            ("[[places]]\nregion = 'us'\nreplicas = 30000", &["30002", "to 20000"]),
            ("[[outages]]\nregion = 'us'\nkind = 'power'\nfrom_s = 1\nto_s = 2", &["\"us\"", "no region"]),
            ("[[outages]]\nregion = 'eu'\nkind = 'power'\nfrom_s = 3\nto_s = 2", &["to_s is 2"]),
            ("[platform]\nkind = 'lambda'", &["unknown variant `lambda`", "functions"]),
            ("[platform]\nlife_s = 1\nmean_life_s = 1", &["exclude each other"]),
            ("[platform]\nkind = 'functions'\nenvironments = 1", &["platform.environments is 1", "from 2"]),
            ("[[clients]]\nname = 'c'\nevery_ms = 10\ndoes.dance = {}", &["unknown variant `dance`"]),
            (
                "[[clients]]\nname = 'c'\nevery_ms = 0\ndoes.advertise.advertisements = 1",
                &["clients \"c\": every_ms is 0"],
            ),
            ("[measure]\nseries_s = 0.00001", &["measure.series_s"]),
            ("[overlays.m]\ntitle = 'm'\ntopology = 'ring'\ninterval_ms = 1000", &["unknown variant `ring`", "mesh"]),
            ("[overlays.m]\ntitle = 'm'\ntopology = 'mesh'\ninterval_ms = 1", &["interval_ms is 1", "from 10"]),
            ("[overlays.m]\ntitle = 'm'\ntopology = 'mesh'\ndegree = 3\ninterval_ms = 100", &["degree is 3", "even"]),
            ("[[published]]\nfigure = 'x'\nunit = 'y'", &["unknown field `unit`", "replicas"]),
        ] {
            let told = refusal(more);
            parts.iter().for_each(|part| assert!(told.contains(part), "{part:?} is missing in: {told}"));
        }
        let mesh = "[overlays.m]\ntitle = 'm'\ntopology = 'mesh'\ninterval_ms = 100";
        for (more, parts) in [
            ("overlay = 'tree'", &["overlay is \"tree\""][..]),
            ("overlay = 'm'", &["degree is 4", "2 replicas"]),
            ("overlay = 'm'\nplatform.mean_life_s = 5", &["degree is 4"]),
        ] {
            let told = Scenario::read(&format!("{more}\n{LEAST}{mesh}")).expect_err("it is wrong").to_string();
            parts.iter().for_each(|part| assert!(told.contains(part), "{part:?} is missing in: {told}"));
        }
        let killed = format!("overlay = 'm'\nplatform.mean_life_s = 5\n{LEAST}{mesh}\ndegree = 2");
        let told = Scenario::read(&killed.replace("replicas = 2", "replicas = 5")).expect_err("names change");
        assert!(told.to_string().contains("none may be killed"), "{told}");
        let told = Scenario::read(&format!("published_from = ['lasp-ppdp17: gset']\n{LEAST}")).expect_err("no such");
        assert!(told.to_string().contains("published_from: lasp-ppdp17 has nothing of \"gset\""), "{told}");
        assert!(Scenario::read("title = 'x'").expect_err("no seconds").to_string().contains("seconds"));
    }
}
