//! The stage in virtual time, for any kind of instance that can be stepped: it plays every scenario.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use dayfly_conformance::act::{Act, Inject, Mangle, RouteKind, Save, Settings, Start, Thaw};
use dayfly_conformance::http::{Answer, Request};
use dayfly_conformance::scenario::Scenario;
use dayfly_conformance::stage::{Runner, Stage};
use dayfly_conformance::text::Variables;
use dayfly_core::config::Config;
use dayfly_core::effect::{FrameId, Verdict};

use crate::actor::{Actor, Phase};
use crate::broker::ActorId;
use crate::chance::Chance;
use crate::life::{CoreMaker, Maker};
use crate::status::Status;
use crate::world::World;

/// How large an inbox is where the scenario does not say.
const INBOX_BYTES: usize = 16 << 20;

/// How long a host waits for the outcome of a suspended replica's frames.
const LAST_WORDS_MS: u64 = 1_000;

/// How long a host waits for a confirmation before it answers.
const CONFIRM_MS: u64 = 10_000;

/// The usual cluster.
pub const CLUSTER: &str = "conformance";

/// Plays scenarios in virtual time.
pub struct SteppedRunner<M> {
    name: &'static str,
    maker: fn() -> Result<M>,
    seeds: u64,
}

impl SteppedRunner<CoreMaker> {
    /// The oracle: the core alone. It is fast, so it plays each scenario with many seeds.
    pub fn core() -> Self {
        Self::new("core", || Ok(CoreMaker), 20)
    }
}

impl<M: Maker + 'static> SteppedRunner<M> {
    /// A runner for instances of this kind, that plays a scenario with so many seeds unless that says otherwise, or
    /// `DAYFLY_TEST_SEEDS` does.
    pub fn new(name: &'static str, maker: fn() -> Result<M>, seeds: u64) -> Self {
        let told = std::env::var("DAYFLY_TEST_SEEDS").ok().and_then(|text| text.parse().ok());
        Self { name, maker, seeds: told.unwrap_or(seeds) }
    }
}

impl<M: Maker + 'static> Runner for SteppedRunner<M> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn refuses(&self, _scenario: &Scenario) -> Option<String> {
        None
    }

    fn seeds(&self, scenario: &Scenario) -> u64 {
        scenario.seeds.unwrap_or(self.seeds)
    }

    fn open(&self, scenario: &Scenario, seed: u64) -> Result<Box<dyn Stage>> {
        Ok(Box::new(SteppedStage {
            world: World::new(seed),
            maker: Box::new((self.maker)()?),
            usual: scenario.config.clone(),
            seed,
            stores: BTreeMap::new(),
        }))
    }
}

#[derive(Default)]
struct Store {
    parts: BTreeMap<String, Vec<u8>>,
    versions: BTreeMap<ActorId, u64>,
}

struct SteppedStage {
    world: World,
    maker: Box<dyn Maker>,
    usual: Settings,
    seed: u64,
    stores: BTreeMap<String, Store>,
}

impl SteppedStage {
    fn find(&self, label: &str, phase: Phase) -> Result<ActorId> {
        let id = self.world.find(label)?;
        let found = self.world.actors[id.0].phase;
        ensure!(found == phase, "{label} is {found:?}; the scenario takes it for {phase:?}");
        Ok(id)
    }

    fn start(&mut self, start: &Start) -> Result<()> {
        let cluster = start.cluster.as_deref().unwrap_or(CLUSTER);
        let first = !self.world.actors.iter().any(|actor| actor.config.cluster == cluster);
        let (config, inbox_bytes) = configure(start, &self.usual, cluster, start.founder.unwrap_or(first))?;
        let number = self.world.actors.len();
        let chance = Chance::new(self.seed, &format!("life {number} of {}", start.label));
        let started = self.maker.start(&config, self.world.clock(start.clock_ms), chance)?;
        let (life, effects) = match (started, &start.refused) {
            (Ok(started), None) => started,
            (Err(refusal), Some(field)) => {
                ensure!(refusal.contains(field.as_str()), "refused with {refusal:?}, which does not name {field}");
                return Ok(());
            }
            (Ok(_), Some(field)) => bail!("started, though {field} is out of bounds"),
            (Err(refusal), None) => bail!("refused: {refusal}"),
        };
        if let Some(name) = &config.name {
            ensure!(life.name() == *name, "the name is {:?} in place of {name:?}", life.name());
        }
        let twin = |actor: &&Actor| actor.config.cluster == cluster && actor.name == life.name();
        let earlier = self.world.actors.iter().rposition(|actor| twin(&actor));
        if let Some(earlier) = earlier {
            let earlier = self.world.with_life(ActorId(earlier), |life, _| life.incarnation());
            ensure!(life.incarnation() > earlier, "incarnation {} follows {earlier}", life.incarnation());
        }
        let id = self.world.enter(&start.label, life, config, inbox_bytes);
        self.world.actors[id.0].clock_ms = start.clock_ms;
        self.world.absorb(id, &effects)?;
        if let Some(store) = &start.load {
            self.load(id, store, start.load_errors)?;
        }
        self.world.open(id, start.lease_ms).map(|_| ())
    }

    /// Loads every part of a store, in any order: chunks join.
    fn load(&mut self, id: ActorId, store: &str, errors: usize) -> Result<()> {
        let store = self.stores.get(store).with_context(|| format!("nothing was saved as {store:?}"))?;
        let mut parts: Vec<Vec<u8>> = store.parts.values().cloned().collect();
        self.world.chance.shuffle(&mut parts);
        let mut refused = 0;
        for part in parts {
            match self.world.with_life(id, |life, now| life.load(now, &part))? {
                Ok(effects) => self.world.absorb(id, &effects)?,
                Err(_) => refused += 1,
            }
        }
        ensure!(refused == errors, "{refused} parts were refused in place of {errors}");
        Ok(())
    }

    fn thaw(&mut self, thaw: &Thaw) -> Result<()> {
        let id = self.find(&thaw.label, Phase::Frozen)?;
        let lease_ms = thaw.lease_ms.or(self.world.actors[id.0].lease_ms);
        let effects = self.world.open(id, lease_ms)?;
        ensure!(effects.started_anew == thaw.anew, "started-anew is {}", effects.started_anew);
        if let (true, Some(store)) = (effects.started_anew, &thaw.load) {
            self.load(id, store, 0)?;
        }
        self.world.fail_outstanding(id)
    }

    /// Ends an awake period: its last frames get their verdicts, if the broker gives any.
    fn end(&mut self, id: ActorId, phase: Phase) -> Result<()> {
        self.world.shut(id, Phase::Suspending);
        let until = self.world.now.plus_ms(LAST_WORDS_MS);
        while !self.world.actors[id.0].outstanding.is_empty() && self.world.step(until, false)? {}
        self.world.shut(id, phase);
        Ok(())
    }

    fn save(&mut self, save: &Save) -> Result<()> {
        let id = self.world.find(&save.label)?;
        let store = self.stores.entry(save.store.clone()).or_default();
        let since = store.versions.get(&id).copied().unwrap_or(0);
        let saved = self.world.with_life(id, |life, now| life.save(now, since))?;
        store.versions.insert(id, saved.version);
        let count = saved.parts.len();
        let bounds = save.parts_at_least.unwrap_or(0)..=save.parts_at_most.unwrap_or(usize::MAX);
        ensure!(bounds.contains(&count), "{count} parts have changed, not {bounds:?}");
        for part in saved.parts {
            let proper = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            let fits = (1..=64).contains(&part.key.len()) && part.key.bytes().all(proper);
            ensure!(fits, "{:?} is no key of a part", part.key);
            store.parts.insert(part.key, part.chunk);
        }
        Ok(())
    }

    /// What a replica has published, by this route or any, newest first.
    fn published(&self, label: &str, route: Option<RouteKind>) -> Result<Vec<Vec<u8>>> {
        let id = self.world.find(label)?;
        let frames = self.world.actors[id.0].published.iter().rev();
        let frames = frames.filter(|(kind, _)| route.is_none_or(|route| route == *kind));
        Ok(frames.map(|(_, body)| body.clone()).collect())
    }

    fn inject(&mut self, inject: &Inject) -> Result<()> {
        let id = self.find(&inject.to, Phase::Awake)?;
        let published = match &inject.from {
            Some(from) => self.published(from, inject.route)?,
            None => Vec::new(),
        };
        for body in bodies(inject, published)? {
            for _ in 0..inject.times {
                self.world.call(id, |life, now| life.receive(now, std::slice::from_ref(&body)))?;
            }
        }
        Ok(())
    }

    fn mangle(&mut self, mangle: &Mangle) -> Result<()> {
        let id = self.find(&mangle.to, Phase::Awake)?;
        let bodies = self.published(&mangle.from, mangle.route)?;
        let body = bodies.first().context("it has published nothing of this kind")?;
        for changed in mangled(body) {
            let call = self.world.call(id, |life, now| life.receive(now, std::slice::from_ref(&changed)));
            call.with_context(|| format!("on {changed:02x?}"))?;
        }
        Ok(())
    }

    fn deliver(&mut self, frames: u64, to: &str, from: Option<&str>, within_ms: u64) -> Result<()> {
        let until = self.world.now.plus_ms(within_ms);
        let count = |world: &World| -> u64 {
            let matching = world
                .delivered_ever
                .iter()
                .filter(|((receiver, sender), _)| receiver == to && from.is_none_or(|from| from == sender));
            matching.map(|(_, frames)| frames).sum()
        };
        let target = count(&self.world) + frames;
        while count(&self.world) < target {
            let more = self.world.step(until, true)?;
            ensure!(more, "{} of {frames} frames are missing", target - count(&self.world));
        }
        Ok(())
    }

    /// What becomes of the frame that an answer waits for. No word for [`CONFIRM_MS`] is as good as a failure.
    fn verdict(&mut self, id: ActorId, frame: FrameId) -> Result<Verdict> {
        let until = self.world.now.plus_ms(CONFIRM_MS);
        loop {
            if let Some(verdict) = self.world.actors[id.0].verdicts.get(&frame) {
                return Ok(*verdict);
            }
            if !self.world.step(until, false)? {
                return Ok(Verdict::Failed);
            }
        }
    }

    fn status(&mut self, label: &str) -> Result<Status> {
        let id = self.find(label, Phase::Awake)?;
        let request = Request { method: "GET".into(), path: "/v1/status".into(), ..Request::default() };
        let response = self.world.invoke(id, &to_core(&request))?;
        serde_json::from_slice(&response.body).context("the status is not as wit/http-api.md has it")
    }

    /// Groups of replicas that are of one cluster, awake, and hear each other.
    fn groups(&self) -> Vec<Vec<String>> {
        let mut clusters: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for actor in self.world.actors.iter().filter(|actor| actor.phase == Phase::Awake) {
            clusters.entry(&actor.config.cluster).or_default().push(actor.label.clone());
        }
        clusters.values().flat_map(|labels| self.world.broker.groups(labels)).collect()
    }

    fn agree(&mut self) -> Result<Option<Vec<Vec<String>>>> {
        let groups = self.groups();
        for group in &groups {
            let mut root = None;
            for label in group {
                let status = self.status(label)?;
                if !status.is_done() || *root.get_or_insert_with(|| status.root.clone()) != status.root {
                    return Ok(None);
                }
            }
        }
        Ok(Some(groups))
    }
}

impl Stage for SteppedStage {
    fn act(&mut self, act: &Act) -> Result<()> {
        match act {
            Act::Start(start) => self.start(start)?,
            Act::Freeze(freeze) => {
                let id = self.find(&freeze.label, Phase::Awake)?;
                if freeze.abruptly {
                    self.world.shut(id, Phase::Frozen);
                } else {
                    self.world.call(id, |life, now| life.suspend(now))?;
                    self.end(id, Phase::Frozen)?;
                }
            }
            Act::Thaw(thaw) => self.thaw(thaw)?,
            Act::Kill(kill) => {
                let id = self.world.find(&kill.label)?;
                ensure!(self.world.actors[id.0].phase != Phase::Dead, "{} is dead", kill.label);
                self.world.shut(id, Phase::Dead);
            }
            Act::Leave(leave) => {
                let id = self.find(&leave.label, Phase::Awake)?;
                self.world.call(id, |life, now| life.leave(now))?;
                self.end(id, Phase::Dead)?;
                let actor = &self.world.actors[id.0];
                self.world.broker.delete(&actor.config.cluster, &actor.name);
            }
            Act::Advance(advance) => self.world.run_until(self.world.now.plus_ms(advance.ms))?,
            Act::Deliver(deliver) => {
                self.deliver(deliver.frames, &deliver.to, deliver.from.as_deref(), deliver.within_ms)?;
            }
            Act::Partition(partition) => {
                for message in self.world.broker.part(partition.clone()) {
                    self.world.send(message, 0);
                }
            }
            Act::Heal(_) => {
                for message in self.world.broker.heal() {
                    self.world.send(message, 0);
                }
            }
            Act::Fault(fault) => self.world.broker.add_fault(fault.clone()),
            Act::Reorder(reorder) => {
                let id = self.world.find(&reorder.label)?;
                self.world.reorder(id);
            }
            Act::Broker(broker) => self.world.set_mood(broker.mood),
            Act::Inject(inject) => self.inject(inject)?,
            Act::Mangle(mangle) => self.mangle(mangle)?,
            Act::Save(save) => self.save(save)?,
            Act::Spoil(spoil) => {
                let store = self.stores.get_mut(&spoil.store).context("nothing was saved")?;
                let part = store.parts.values_mut().next().context("the store is empty")?;
                part.truncate(part.len() / 2);
            }
            Act::Clock(clock) => {
                let id = self.world.find(&clock.label)?;
                self.world.actors[id.0].clock_ms += clock.by_ms;
            }
            Act::Unbind(unbind) => {
                let id = self.world.find(&unbind.label)?;
                let actor = &self.world.actors[id.0];
                self.world.broker.delete(&actor.config.cluster, &actor.name);
            }
            Act::Mark(_) => self.world.delivered.clear(),
        }
        Ok(())
    }

    fn request(&mut self, label: &str, request: &Request, confirmed: bool) -> Result<Answer> {
        let id = self.find(label, Phase::Awake)?;
        let response = self.world.invoke(id, &to_core(request))?;
        if let (true, Some(frame)) = (confirmed, response.after)
            && self.verdict(id, frame)? != Verdict::Confirmed
        {
            return Ok(unconfirmed(&self.world.actors[id.0].name));
        }
        Ok(Answer { status: response.status, headers: response.headers, body: response.body })
    }

    fn settle(&mut self, within_ms: u64, quiet: bool) -> Result<Vec<Vec<String>>> {
        let until = self.world.now.plus_ms(within_ms);
        loop {
            if self.world.is_still(quiet)
                && let Some(groups) = self.agree()?
            {
                return Ok(groups);
            }
            if !self.world.step(until, false)? {
                let unrest = self.world.unrest();
                let mut told = Vec::new();
                for label in self.awake() {
                    told.push(format!("{label}: {:?}", self.status(&label)?));
                }
                bail!("not settled within {within_ms} ms: {unrest}; {}", told.join(", "));
            }
        }
    }

    fn awake(&self) -> Vec<String> {
        let awake = self.world.actors.iter().filter(|actor| actor.phase == Phase::Awake);
        awake.map(|actor| actor.label.clone()).collect()
    }

    fn name_of(&self, label: &str) -> Result<Option<String>> {
        Ok(Some(self.world.actors[self.world.find(label)?.0].name.clone()))
    }

    fn labels(&self) -> Vec<String> {
        self.world.actors.iter().map(|actor| actor.label.clone()).collect()
    }

    fn is_still(&self) -> bool {
        true
    }

    fn traffic(&self, to: Option<&str>) -> Option<(u64, u64)> {
        let delivered = self.world.delivered.iter().filter(|(label, _)| to.is_none_or(|to| to == label.as_str()));
        Some(delivered.fold((0, 0), |sum, (_, (frames, bytes))| (sum.0 + frames, sum.1 + bytes)))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// The configuration of a start, with what the scenario says for all of its replicas; and the bound of its inbox.
pub fn configure(start: &Start, usual: &Settings, cluster: &str, founder: bool) -> Result<(Config, usize)> {
    let own = &start.config;
    let mut config = Config::usual(cluster);
    config.name = match (&start.name, start.unnamed) {
        (Some(name), _) => Some(name.string(&Variables::new())?),
        (None, true) => None,
        (None, false) => Some(start.label.clone()),
    };
    config.region.clone_from(&start.region);
    config.zone.clone_from(&start.zone);
    if founder {
        config.bootstrap_ms = 0;
    }
    macro_rules! take {
        ($($field:ident),*) => {
            $(if let Some(value) = own.$field.clone().or_else(|| usual.$field.clone()) { config.$field = value; })*
        };
    }
    take!(host, component_hash, frame_bytes, retention_ms, skew_ms, burst_ms, repair_bytes, store_bytes);
    take!(combine_above, combine_ms, log_bytes);
    // A founder stays one unless its own start says otherwise.
    if let Some(value) = own.bootstrap_ms.or(usual.bootstrap_ms.filter(|_| !founder)) {
        config.bootstrap_ms = value;
    }
    let inbox_bytes = own.inbox_bytes.or(usual.inbox_bytes).unwrap_or(INBOX_BYTES);
    Ok((config, inbox_bytes))
}

/// What a host answers to a write that the broker did not confirm (`wit/api.wit`, `response.after`).
fn unconfirmed(name: &str) -> Answer {
    let message = "the write is applied here and will be sent again; its frame was not confirmed";
    let body = serde_json::json!({ "error": { "code": "unconfirmed", "message": message } });
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = vec![header("content-type", "application/json"), header("dayfly-replica", name)];
    Answer { status: 503, headers, body: body.to_string().into_bytes() }
}

/// A scenario's request in the core's words.
pub fn to_core(request: &Request) -> dayfly_core::http::Request {
    dayfly_core::http::Request {
        method: request.method.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        headers: request.headers.clone(),
        body: request.body.clone(),
    }
}

/// The other way round.
pub fn from_core(request: &dayfly_core::http::Request) -> Request {
    Request {
        method: request.method.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        headers: request.headers.clone(),
        body: request.body.clone(),
    }
}

/// The bodies that a step hands over, where `published` is what the replica that it names has published, newest first.
pub fn bodies(inject: &Inject, published: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
    let mut bodies = match &inject.bytes {
        Some(bytes) => vec![bytes.bytes(&Variables::new())?],
        None => published,
    };
    if inject.first {
        bodies.reverse();
    }
    if !inject.all {
        bodies = bodies.into_iter().skip(inject.skip).take(1).collect();
    }
    ensure!(!bodies.is_empty(), "so many frames have not been published");
    for body in &mut bodies {
        if let Some(cut) = inject.cut {
            ensure!(cut < body.len(), "the frame has only {} bytes", body.len());
            body.truncate(cut);
        }
        if let Some(at) = inject.at {
            let place = if at < 0 { body.len().checked_add_signed(at) } else { Some(at.unsigned_abs()) };
            let byte = place.and_then(|place| body.get_mut(place));
            *byte.with_context(|| format!("the frame has no byte {at}"))? ^= inject.xor;
        }
    }
    Ok(bodies)
}

/// Every truncation and every single-bit change of a frame.
pub fn mangled(body: &[u8]) -> Vec<Vec<u8>> {
    let cuts = (0..body.len()).map(|cut| body[..cut].to_vec());
    let flips = (0..body.len() * 8).map(|bit| {
        let mut changed = body.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    });
    cuts.chain(flips).collect()
}
