//! Instances under guests that mean no good, and a thousand of them at once.

mod guest;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use dayfly_engine::contract::{Part, Receipt, Request, Verdict};
use dayfly_engine::{
    CallError, Cause, Instance, Limits, Lost, Runtime, RuntimeError, SystemWorld, Target, VirtualClock, VirtualWorld,
};

const MEMORY_BYTES: u64 = 16 << 20;

fn hostile() -> Instance {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let limits = Limits { instances: 16, memory_bytes: MEMORY_BYTES, call_ms: 300 };
    let runtime = RUNTIME.get_or_init(|| Runtime::new(&guest::hostile_component(), limits).expect("it compiles"));
    let mut instance = runtime.instantiate(SystemWorld).expect("there is room");
    let started = instance.start(&guest::config("c", "a")).expect("it starts");
    assert_eq!(started.name, "");
    instance
}

/// The call failed for this reason, and the instance stays lost while others live.
fn lost<T: std::fmt::Debug>(instance: &mut Instance, outcome: Result<T, Lost>, cause: Cause, detail: &str) {
    let lost = outcome.expect_err("the guest is hostile");
    assert_eq!(lost.cause, cause, "{lost}");
    assert!(lost.to_string().contains(detail), "{lost}");
    assert_eq!(instance.lost(), Some(&lost));
    assert_eq!(instance.receive(&[b"frame"]).expect_err("it is lost"), lost);
    assert!(hostile().receive(&[b"frame"]).is_ok());
}

#[test]
fn a_component_without_overlays_refuses_neighbours_and_goes_on() {
    // It exports what the first components did.
    let mut instance = hostile();
    let neighbours = ["b".to_owned()];
    let refused = instance.set_neighbours(&neighbours, 1_000).expect_err("it has no such function");
    assert!(matches!(&refused, CallError::Refused(reason) if reason.contains("earlier than overlays")), "{refused}");
    assert_eq!(instance.elements(b"frame"), Ok(None));
    assert!(instance.receive(&[b"frame"]).is_ok());
}

#[test]
fn a_guest_that_loops_is_stopped() {
    let mut instance = hostile();
    let began = Instant::now();
    let outcome = instance.tick();
    let took = began.elapsed();
    lost(&mut instance, outcome, Cause::Overran, "300 ms");
    // Ten times the limit is what a call may have on a machine that does not run its thread.
    assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn a_guest_that_swells_is_stopped_at_its_bound() {
    let mut instance = hostile();
    let outcome = instance.wake(0);
    lost(&mut instance, outcome, Cause::OutOfMemory, &MEMORY_BYTES.to_string());
}

#[test]
fn a_frame_that_does_not_fit_the_guest_loses_the_guest_only() {
    let mut instance = hostile();
    let body = vec![0; MEMORY_BYTES as usize];
    let outcome = instance.receive(&[&body]);
    lost(&mut instance, outcome, Cause::OutOfMemory, &MEMORY_BYTES.to_string());
}

#[test]
fn a_guest_that_traps_is_lost() {
    let mut instance = hostile();
    let outcome = instance.suspend();
    lost(&mut instance, outcome, Cause::Trapped, "unreachable");
}

#[test]
fn a_guest_that_wants_endless_randomness_is_lost() {
    let mut instance = hostile();
    let outcome = instance.leave();
    lost(&mut instance, outcome, Cause::Trapped, "random bytes");
}

#[test]
fn a_guest_that_recurses_without_end_is_lost() {
    let mut instance = hostile();
    let request = Request {
        method: "GET".to_owned(),
        path: "/v1/status".to_owned(),
        query: String::new(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    let outcome = instance.invoke(&request);
    lost(&mut instance, outcome, Cause::Trapped, "stack");
}

#[test]
fn answers_that_lie_outside_the_memory_are_refused() {
    let mut instance = hostile();
    let outcome = instance.settle(&[Receipt { id: 1, verdict: Verdict::Confirmed }]);
    lost(&mut instance, outcome, Cause::Trapped, "");
    let mut instance = hostile();
    let outcome = instance.save(0);
    lost(&mut instance, outcome, Cause::Trapped, "");
}

#[test]
fn a_text_that_is_no_utf_8_is_refused() {
    let mut instance = hostile();
    let outcome = instance.load(&Part { key: "a".to_owned(), chunk: vec![1] });
    let Err(CallError::Lost(cause)) = outcome else { panic!("{outcome:?}") };
    lost(&mut instance, Err::<(), _>(cause), Cause::Trapped, "utf-8");
}

#[test]
fn what_is_no_replica_is_refused() {
    let limits = Limits { instances: 1, ..Limits::default() };
    let compile = Runtime::new(b"\0asm", limits).expect_err("no component");
    assert!(matches!(compile, RuntimeError::Compile(_)), "{compile}");
    let empty = wat::parse_str("(component)").expect("a component");
    let contract = Runtime::new(&empty, limits).expect_err("no replica");
    assert!(matches!(contract, RuntimeError::Contract(_)), "{contract}");
    let limits = Limits { call_ms: 0, ..limits };
    assert_eq!(
        Runtime::new(&empty, limits).expect_err("no limit"),
        RuntimeError::Limits("call_ms must be 10 to 60000")
    );
}

/// A folder of this test's own, empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("artefact-{name}"));
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
        _ => fs::create_dir_all(&folder).expect("a folder"),
    }
    folder
}

#[test]
fn an_artefact_runs_as_its_component_does_and_only_where_memories_lie_alike() {
    let limits = Limits { instances: 2, memory_bytes: MEMORY_BYTES, call_ms: 300 };
    let component = guest::hostile_component();
    let folder = folder("layout");
    let make = |limits| Runtime::precompile(&component, limits, Target::Host).expect("it compiles").write(&folder);
    make(limits).expect("it is written");
    // The same layout: with other bounds, the bounds asked for hold.
    for limits in [limits, Limits { instances: 1, memory_bytes: 2 * MEMORY_BYTES, call_ms: 200 }] {
        // SAFETY: it was made by `precompile` above.
        let runtime = unsafe { Runtime::map(&folder, limits) }.expect("it loads");
        assert_eq!(runtime.component_hash(), dayfly_engine::artefact::hash_hex(&component));
        let mut instance = runtime.instantiate(SystemWorld).expect("there is room");
        assert!(instance.start(&guest::config("c", "a")).is_ok());
        let outcome = instance.wake(0);
        lost(&mut instance, outcome, Cause::OutOfMemory, &limits.memory_bytes.to_string());
    }

    // So many that a slot is no larger than its memory: the code would have to check bounds, and does not.
    let other = Limits { instances: 100_000, ..limits };
    // SAFETY: as above.
    let refused = unsafe { Runtime::map(&folder, other) }.expect_err("another layout");
    let RuntimeError::Artefact(reason) = refused else { panic!("{refused}") };
    assert!(reason.contains("slots of 16777216 bytes") && reason.contains("make it anew"), "{reason}");
    make(other).expect("it is written");
    // SAFETY: it was made by `precompile` a line above.
    let runtime = unsafe { Runtime::map(&folder, other) }.expect("it loads");
    let mut instance = runtime.instantiate(SystemWorld).expect("there is room");
    assert!(instance.start(&guest::config("c", "a")).is_ok());
    let outcome = instance.wake(0);
    lost(&mut instance, outcome, Cause::OutOfMemory, &MEMORY_BYTES.to_string());
}

#[test]
fn an_artefact_names_the_processors_it_is_for_and_not_the_one_that_made_it() {
    let limits = Limits { instances: 2, memory_bytes: MEMORY_BYTES, call_ms: 300 };
    let component = guest::hostile_component();
    let code = |target| Runtime::precompile(&component, limits, target).map(|artefact| artefact.code);
    let generic = code(Target::X86_64).expect("it compiles");
    // Among other things, the file holds the settings of the compiler by their names.
    let names = |name: &str| generic.windows(name.len()).any(|window| window == name.as_bytes());
    assert!(names("has_avx2") && names("x86_64"), "it tells no processor");

    match code(Target::Arm64) {
        Ok(code) => assert_ne!(code, generic),
        Err(RuntimeError::Engine(reason)) => assert!(reason.contains("compiler-arm64"), "{reason}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_folder_without_an_artefact_is_refused_by_what_is_missing() {
    let limits = Limits { instances: 1, ..Limits::default() };
    let folder = folder("broken");
    let refusal = || {
        // SAFETY: what stands there is no machine code, and does not become any.
        match unsafe { Runtime::map(&folder, limits) } {
            Err(RuntimeError::Artefact(reason)) => reason,
            other => panic!("{other:?}"),
        }
    };
    assert!(refusal().contains("replica.sha256"), "{}", refusal());
    fs::write(folder.join("replica.sha256"), "abc").expect("it is written");
    assert!(refusal().contains("64 hex digits"), "{}", refusal());
    fs::write(folder.join("replica.sha256"), "0".repeat(64)).expect("it is written");
    assert!(refusal().contains("replica.cwasm"), "{}", refusal());
    fs::write(folder.join("replica.cwasm"), [0; 100]).expect("it is written");
    assert!(refusal().contains("make it anew"), "{}", refusal());
}

#[test]
fn there_is_room_for_so_many_and_a_dead_one_makes_room() {
    let limits = Limits { instances: 2, memory_bytes: MEMORY_BYTES, call_ms: 300 };
    let runtime = Runtime::new(&guest::hostile_component(), limits).expect("it compiles");
    let first = runtime.instantiate(SystemWorld).expect("there is room");
    let _second = runtime.instantiate(SystemWorld).expect("there is room");
    assert_eq!(runtime.instantiate(SystemWorld).expect_err("there is none").cause, Cause::NotStarted);
    drop(first);
    assert!(runtime.instantiate(SystemWorld).is_ok());
}

#[test]
fn the_replica_refuses_a_bad_configuration_and_takes_a_mended_one() {
    let limits = Limits { instances: 1, ..Limits::default() };
    let runtime = Runtime::new(&guest::replica_component(), limits).expect("it compiles");
    let mut replica =
        runtime.instantiate(VirtualWorld::new(VirtualClock::at_ms(1_700_000_000_000), 1)).expect("there is room");
    let refused = replica.start(&guest::config("Not A Name", "a")).expect_err("no name");
    let CallError::Refused(reason) = refused else { panic!("{refused}") };
    assert!(reason.starts_with("cluster must be"), "{reason}");
    let mended = replica.start(&guest::config("c", "a")).expect("it starts");
    assert_eq!(mended.name, "a");
}

/// The memory that the process has in use, in bytes.
#[cfg(target_os = "linux")]
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * 4096
}

#[test]
#[cfg(target_os = "linux")]
fn a_thousand_replicas_fit_a_small_process() {
    const REPLICAS: u32 = 1_000;
    let limits = Limits { instances: 10_000, ..Limits::default() };
    let runtime = Runtime::new(&guest::replica_component(), limits).expect("it compiles");
    let before = resident_bytes();
    let began = Instant::now();
    let replicas: Vec<Instance> = (0..REPLICAS)
        .map(|index| {
            let mut replica = runtime.instantiate(SystemWorld).expect("there is room");
            let name = format!("replica-{index}");
            let started = replica.start(&guest::config("c", &name)).expect("it starts");
            assert_eq!(started.name, name);
            replica
        })
        .collect();
    let took = began.elapsed();
    let each = (resident_bytes() - before) / u64::from(REPLICAS);
    println!("{REPLICAS} replicas started in {took:?}, {each} bytes each");
    drop(replicas);
    assert!(each < 100_000, "{each} bytes a replica");
}

/// A call of the contract, by its name.
type Step = (&'static str, fn(&mut Instance) -> Result<(), CallError>);

/// Every call but `start`.
const STEPS: [Step; 9] = [
    ("wake", |replica| Ok(replica.wake(NOW_MS + 1_000).map(drop)?)),
    ("tick", |replica| Ok(replica.tick().map(drop)?)),
    ("suspend", |replica| Ok(replica.suspend().map(drop)?)),
    ("leave", |replica| Ok(replica.leave().map(drop)?)),
    ("receive", |replica| Ok(replica.receive(&[]).map(drop)?)),
    ("settle", |replica| Ok(replica.settle(&[]).map(drop)?)),
    ("save", |replica| Ok(replica.save(0).map(drop)?)),
    ("replay", |replica| Ok(replica.replay(&[], true).map(drop)?)),
    ("load", |replica| match replica.load(&Part { key: "a".to_owned(), chunk: Vec::new() }) {
        // An empty part is broken; to say so is an answer.
        Ok(_) | Err(CallError::Refused(_)) => Ok(()),
        Err(lost) => Err(lost),
    }),
];
const NOW_MS: u64 = 1_700_000_000_000;

fn status(replica: &mut Instance) -> Result<u16, Lost> {
    let request = Request {
        method: "GET".to_owned(),
        path: "/v1/status".to_owned(),
        query: String::new(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    replica.invoke(&request).map(|response| response.status)
}

#[test]
fn a_call_before_the_start_or_a_second_start_traps_and_loses_that_instance_only() {
    let limits = Limits { instances: 4, ..Limits::default() };
    let runtime = Runtime::new(&guest::replica_component(), limits).expect("it compiles");
    let fresh = |seed| {
        let world = VirtualWorld::new(VirtualClock::at_ms(NOW_MS), seed);
        runtime.instantiate(world).expect("there is room")
    };
    let mut good = fresh(1);
    good.start(&guest::config("c", "good")).expect("it starts");

    let invoke: Step = ("invoke", |replica| Ok(status(replica).map(drop)?));
    for (seed, (name, step)) in (2..).zip(STEPS.into_iter().chain([invoke])) {
        let mut replica = fresh(seed);
        let early = step(&mut replica).expect_err(name);
        assert!(matches!(&early, CallError::Lost(Lost { cause: Cause::Trapped, .. })), "{name}: {early}");
        assert!(replica.lost().is_some(), "{name}");
        // It stays lost: a start mends nothing.
        assert_eq!(replica.start(&guest::config("c", "a")).expect_err(name), early, "{name}");
        assert_eq!(status(&mut good).expect("the other lives"), 200, "after {name}");
        // After its start the same call is no trap.
        let mut replica = fresh(seed);
        replica.start(&guest::config("c", "a")).expect("it starts");
        assert_eq!(step(&mut replica), Ok(()), "{name}");
    }

    let mut replica = fresh(100);
    let first = replica.start(&guest::config("Not A Name", "a")).expect_err("no name");
    assert!(matches!(first, CallError::Refused(_)), "{first}");
    replica.start(&guest::config("c", "a")).expect("a refused start was none");
    let second = replica.start(&guest::config("c", "a")).expect_err("it was started");
    assert!(matches!(&second, CallError::Lost(Lost { cause: Cause::Trapped, .. })), "{second}");
    assert!(status(&mut replica).is_err());
    assert_eq!(status(&mut good).expect("the other lives"), 200);
}
