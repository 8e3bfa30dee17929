//! What a cluster of both components goes through. In each story nothing that was confirmed is lost, all replicas are equal in
//! the end, and nobody has dropped a frame as broken or of an unknown version.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use dayfly_engine::contract::Config;
use dayfly_engine::{MemoryVault, Replica};
use serde_json::json;
use tokio::runtime::Runtime as Tokio;

use crate::cluster::{Cluster, Side, config, post};
use crate::earlier::Earlier;
use crate::load::{CONTENDED, Targets, Written};

/// What replicas have for everyone they send to everyone.
pub const DIRECT: u32 = 32;
/// It goes through the combiner, however few are awake.
pub const COMBINED: u32 = 0;

/// Batches of each client: some, and more dots than a sketch tells or a frame holds.
const FEW: u64 = 3;
const MANY: u64 = 60;
/// How long clients write between two steps of an upgrade.
const STEP: Duration = Duration::from_millis(200);

fn play(story: impl Future<Output = Result<()>>) -> Result<()> {
    static TOKIO: OnceLock<Result<Tokio, String>> = OnceLock::new();
    let made = TOKIO.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())
    });
    made.as_ref().map_err(|error| anyhow!("no runtime: {error}"))?.block_on(story)
}

/// Has these replicas written to, and compares the cluster with all that was written.
async fn write(cluster: &Cluster<'_>, written: &mut Written, replicas: &[&Replica], rounds: u64) -> Result<()> {
    let targets = Targets::default();
    for replica in replicas {
        targets.add(replica).await;
    }
    written.write(&targets, rounds).await?;
    compare(cluster, written).await
}

async fn compare(cluster: &Cluster<'_>, written: &Written) -> Result<()> {
    written.compare("the cluster", &cluster.settle().await?)
}

/// What is told to be an earlier component is one, and speaks the version that its pin says.
pub fn is_pinned(earlier: &Earlier) -> Result<()> {
    let [before, now] = [Side::Earlier, Side::Present].map(|side| earlier.runtime(side));
    let (before, now) = (before?, now?);
    // Another commit may differ in nothing that is compiled.
    let Some(pin) = earlier.pin()? else { return Ok(()) };
    ensure!(before.component_hash() != now.component_hash(), "the pinned component is the present one");
    play(async {
        let mut cluster = Cluster::new(earlier, config());
        let replica = cluster.start(Side::Earlier).await?;
        let frames = cluster.frames(&replica);
        ensure!(!frames.is_empty(), "it has sent nothing that the present one can decode");
        let other = frames.iter().find(|body| body.first() != Some(&pin.wire));
        ensure!(other.is_none(), "its pin says version {} of the wire, and it sent {other:?}", pin.wire);
        Ok(())
    })
}

/// A replica is filled by one of the other version, takes over, and fills one of the first again.
pub fn newcomers(earlier: &Earlier, founder: Side) -> Result<()> {
    play(async {
        let mut cluster = Cluster::new(earlier, config());
        let mut written = Written::new();
        let first = cluster.start(founder).await?;
        write(&cluster, &mut written, &[&first], MANY).await?;
        let second = cluster.start(founder.other()).await?;
        compare(&cluster, &written).await?;
        ensure!(cluster.count(&first, "answer") > 1, "it was filled in one piece");
        write(&cluster, &mut written, &[&first, &second], FEW).await?;
        cluster.kill(&first).await?;
        write(&cluster, &mut written, &[&second], FEW).await?;
        let third = cluster.start(founder).await?;
        compare(&cluster, &written).await?;
        ensure!(cluster.count(&second, "answer") > 1, "it was filled in one piece");
        write(&cluster, &mut written, &[&second, &third], FEW).await?;
        cluster.check_said(&["wake", "delta", "ask for all", "answer", "members"])
    })
}

/// Each side misses frames of the other, few and many, and is told what it lacks.
pub fn losses(earlier: &Earlier) -> Result<()> {
    play(async {
        let mut cluster = Cluster::new(earlier, config());
        let mut written = Written::new();
        let (before, now) = (cluster.start(Side::Earlier).await?, cluster.start(Side::Present).await?);
        write(&cluster, &mut written, &[&before, &now], FEW).await?;
        for rounds in [1, MANY] {
            for (lacks, has) in [(&before, &now), (&now, &before)] {
                let (asked, answered) = (asked(&cluster, lacks), cluster.count(has, "answer"));
                cluster.part(&[lacks, has]);
                let apart = Targets::default();
                apart.add(has).await;
                written.write(&apart, rounds).await?;
                cluster.heal();
                // The next frame tells of a root that the other has not.
                written.write(&apart, 1).await?;
                compare(&cluster, &written).await?;
                ensure!(self::asked(&cluster, lacks) > asked, "{} has not asked", lacks.name());
                ensure!(cluster.count(has, "answer") > answered, "{} has not answered", has.name());
            }
        }
        // Both write while they do not hear each other.
        cluster.part(&[&before, &now]);
        let [left, right] = [Targets::default(), Targets::default()];
        left.add(&before).await;
        right.add(&now).await;
        let mut others = Written::of_others(&written);
        let (one, other) = tokio::join!(written.write(&left, FEW), others.write(&right, FEW));
        one?;
        other?;
        cluster.heal();
        written.write(&left, 1).await?;
        let contents = cluster.settle().await?;
        written.and(&others).compare("the cluster", &contents)?;
        cluster.check_said(&["ask by sketch", "ask by description", "answer"])
    })
}

fn asked(cluster: &Cluster<'_>, replica: &Replica) -> usize {
    ["ask for all", "ask by sketch", "ask by description"].map(|kind| cluster.count(replica, kind)).iter().sum()
}

/// A frozen replica of each version finds what the other wrote meanwhile.
pub fn freezes(earlier: &Earlier) -> Result<()> {
    play(async {
        let mut cluster = Cluster::new(earlier, config());
        let mut written = Written::new();
        let (before, now) = (cluster.start(Side::Earlier).await?, cluster.start(Side::Present).await?);
        write(&cluster, &mut written, &[&before, &now], FEW).await?;
        for (frozen, awake) in [(&before, &now), (&now, &before)] {
            // What is in its inbox when it thaws, and what is not.
            for is_lost in [false, true] {
                cluster.freeze(frozen).await?;
                write(&cluster, &mut written, &[awake], FEW).await?;
                if is_lost {
                    cluster.part(&[frozen, awake]);
                }
                cluster.thaw(frozen).await?;
                // Lost is what is delivered now; heard again is what comes after the first answer.
                cluster.status(frozen.name()).await?;
                cluster.heal();
                write(&cluster, &mut written, &[frozen, awake], FEW).await?;
            }
        }
        cluster.check_members().await
    })
}

/// The combiner is of each version in turn, and is killed in the midst of writes.
pub fn combiners(earlier: &Earlier) -> Result<()> {
    play(async {
        let mut cluster = Cluster::new(earlier, Config { combine_above: COMBINED, ..config() });
        let targets = Targets::default();
        let mut waiting = VecDeque::new();
        for side in [Side::Earlier, Side::Present, Side::Earlier, Side::Present] {
            let replica = cluster.start(side).await?;
            targets.add(&replica).await;
            waiting.push_back((side, replica));
        }
        let mut written = Written::new();
        for turn in 0..4 {
            let (side, combiner) = waiting.pop_front().context("somebody is left")?;
            written.write(&targets, FEW).await?;
            let load = written.begin(&targets);
            tokio::time::sleep(STEP).await;
            let shares = cluster.status(combiner.name()).await?.combining.shares;
            ensure!(shares > 0, "{} was not the combiner", combiner.name());
            targets.remove(&combiner).await;
            cluster.kill(&combiner).await?;
            tokio::time::sleep(STEP).await;
            written = load.end().await?;
            compare(&cluster, &written).await.with_context(|| format!("turn {turn}"))?;
            let next = cluster.start(side).await?;
            targets.add(&next).await;
            waiting.push_back((side, next));
        }
        written.write(&targets, FEW).await?;
        compare(&cluster, &written).await?;
        cluster.check_said(&["share", "combined"])
    })
}

/// What one version has stored another starts from, with nobody else there, and the first again from what that has stored.
pub fn checkpoints(earlier: &Earlier, first: Side) -> Result<()> {
    play(async {
        let vault = Arc::new(MemoryVault::default());
        let mut written = Written::new();
        for side in [first, first.other(), first] {
            // Each time a bus on which nobody is.
            let mut cluster = Cluster::new(earlier, config());
            let replica = cluster.start_stored(side, &vault).await?;
            compare(&cluster, &written).await?;
            write(&cluster, &mut written, &[&replica], MANY / 2).await?;
            cluster.leave(&replica).await?;
        }
        Ok(())
    })
}

/// All of one version die, and one of the other reads the broker's log, of which the beginning is forgotten: what that told is
/// in a snapshot only.
pub fn log(earlier: &Earlier, writer: Side) -> Result<()> {
    const LOG_BYTES: u64 = 16 << 20;
    // A snapshot is due when a quarter of the log is new.
    const SNAPSHOTS: u64 = 4;
    const LARGE_BYTES: u64 = 60_000;
    const LARGE_A_SNAPSHOT: u64 = LOG_BYTES / SNAPSHOTS / LARGE_BYTES + 5;
    play(async {
        let (frame_bytes, repair_bytes) = (64 << 10, 256 << 10);
        let config = Config { log_bytes: LOG_BYTES, frame_bytes, repair_bytes, ..config() };
        let mut cluster = Cluster::new(earlier, config);
        let replica = cluster.start(writer).await?;
        let mut written = Written::new();
        write(&cluster, &mut written, &[&replica], FEW).await?;
        for number in 1..=SNAPSHOTS {
            for _ in 0..LARGE_A_SNAPSHOT {
                let large = json!({ "set": "x".repeat(LARGE_BYTES as usize) });
                let request = post(&format!("/v1/data/lwwregister/{CONTENDED}"), &large.to_string());
                let response = replica.invoke(request).await?;
                ensure!(response.status == 200, "{}", String::from_utf8_lossy(&response.body));
            }
            cluster.await_snapshots(&replica, number).await?;
        }
        write(&cluster, &mut written, &[&replica], FEW).await?;
        cluster.kill(&replica).await?;
        let reader = cluster.start(writer.other()).await?;
        compare(&cluster, &written).await?;
        write(&cluster, &mut written, &[&reader], FEW).await
    })
}

/// Replicas of one version are replaced by those of the other, one by one and in different ways, while clients write.
pub fn rolling(earlier: &Earlier, from: Side, combine_above: u32) -> Result<()> {
    const REPLICAS: usize = 3;
    play(async {
        let mut cluster = Cluster::new(earlier, Config { combine_above, ..config() });
        let targets = Targets::default();
        let mut old = Vec::new();
        for _ in 0..REPLICAS {
            let replica = cluster.start(from).await?;
            targets.add(&replica).await;
            old.push(replica);
        }
        let load = Written::new().begin(&targets);
        tokio::time::sleep(STEP).await;
        for (number, leaving) in old.iter().enumerate() {
            let new = cluster.start(from.other()).await?;
            targets.add(&new).await;
            tokio::time::sleep(STEP).await;
            // Whoever is to go next, and then the new one, sleeps for a while.
            for sleeper in [leaving, &new] {
                targets.remove(sleeper).await;
                cluster.freeze(sleeper).await?;
                tokio::time::sleep(STEP).await;
                cluster.thaw(sleeper).await?;
                targets.add(sleeper).await;
            }
            tokio::time::sleep(STEP).await;
            targets.remove(leaving).await;
            match number % 2 {
                0 => cluster.leave(leaving).await?,
                _ => cluster.kill(leaving).await?,
            }
            tokio::time::sleep(STEP).await;
        }
        let written = load.end().await?;
        ensure!(written.rounds() > 30, "only {} batches were written", written.rounds());
        compare(&cluster, &written).await?;
        cluster.check_members().await?;
        let sent: &[&str] = if combine_above == COMBINED { &["share", "combined"] } else { &["wake", "delta"] };
        cluster.check_said(sent)?;
        cluster.check_said(&["answer"])
    })
}
