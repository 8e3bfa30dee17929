//! Stored state in a folder: written through crashes, found broken, fought over, and used by replicas.

mod guest;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dayfly_engine::contract::{Config, Part, Request};
use dayfly_engine::{
    Bus, BusConfig, Chance, DirectoryVault, Limits, Replica, ReplicaOptions, Runtime, SystemWorld, Vault,
};

/// Long enough for anything that is awaited, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);
/// Tells the process that saves until it is killed where to.
const FOLDER: &str = "DAYFLY_TEST_VAULT";
const VISITS: &str = "/v1/data/pncounter/visits";

/// A folder of this test's own, that is not there yet.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("vault-{name}"));
    if path.exists() {
        fs::remove_dir_all(&path).expect("what an earlier run left can be removed");
    }
    path
}

fn part(key: &str, chunk: &[u8]) -> Part {
    Part { key: key.to_owned(), chunk: chunk.to_vec() }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn parts_come_back_and_replace_those_of_their_keys() {
    let folder = folder("round-trip");
    let vault = DirectoryVault::open(&folder).expect("it opens");
    assert!(vault.load().await.expect("it is empty").parts.is_empty());
    vault.store(vec![part("a-1", b"old"), part("b", b"")]).await.expect("it stores");
    vault.store(vec![part("a-1", b"new"), part("c", &[0; 100_000])]).await.expect("it stores");
    let refused = vault.store(vec![part("../a", b"")]).await.expect_err("no key");
    assert!(refused.to_string().contains("no key"), "{refused}");
    drop(vault);
    let loaded = DirectoryVault::open(&folder).expect("it opens again").load().await.expect("it loads");
    assert_eq!(loaded.parts, [part("a-1", b"new"), part("b", b""), part("c", &[0; 100_000])]);
    assert_eq!(
        (loaded.broken.len(), names(&folder)),
        (0, ["a-1.part", "b.part", "c.part", "lock"].map(str::to_owned).into())
    );
}

#[tokio::test]
async fn a_part_of_which_any_byte_has_changed_is_set_aside() {
    let folder = folder("flipped");
    let vault = DirectoryVault::open(&folder).expect("it opens");
    vault.store(vec![part("good", b"sound"), part("bad", b"a chunk")]).await.expect("it stores");
    let path = folder.join("bad.part");
    let written = fs::read(&path).expect("it is there");
    let mut damaged: Vec<Vec<u8>> = (0..written.len()).map(|at| written[..at].to_vec()).collect();
    for at in 0..written.len() {
        let mut bytes = written.clone();
        bytes[at] ^= 1 << (at % 8);
        damaged.push(bytes);
    }
    for bytes in damaged {
        fs::write(&path, &bytes).expect("it can be damaged");
        let loaded = vault.load().await.expect("the others load");
        assert_eq!(loaded.parts, [part("good", b"sound")], "{bytes:?}");
        let [error] = &loaded.broken[..] else { panic!("{:?}", loaded.broken) };
        assert!(error.to_string().contains(path.to_str().expect("it is text")), "{error}");
        assert_eq!(fs::read(folder.join("bad.part.broken")).expect("it was set aside"), bytes);
        assert!(!path.exists());
    }
    vault.store(vec![part("bad", b"mended")]).await.expect("it stores");
    assert_eq!(vault.load().await.expect("it loads").parts, [part("bad", b"mended"), part("good", b"sound")]);
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_removed() {
    let folder = folder("torn");
    let vault = DirectoryVault::open(&folder).expect("it opens");
    vault.store(vec![part("a", b"whole")]).await.expect("it stores");
    drop(vault);
    fs::write(folder.join("a.torn"), b"dayfly-pa").expect("it can be written");
    fs::write(folder.join("b.torn"), b"").expect("it can be written");
    let vault = DirectoryVault::open(&folder).expect("it opens");
    let loaded = vault.load().await.expect("it loads");
    assert_eq!((loaded.parts, loaded.broken), (vec![part("a", b"whole")], vec![]));
    assert_eq!(names(&folder), ["a.part", "lock"]);
}

#[tokio::test]
async fn what_cannot_be_opened_or_written_is_named() {
    let folder = folder("unwritable");
    let vault = DirectoryVault::open(&folder).expect("it opens");
    fs::remove_dir_all(&folder).expect("it can be removed");
    let error = vault.store(vec![part("a", b"lost")]).await.expect_err("there is no folder");
    assert!(error.to_string().contains(folder.join("a.torn").to_str().expect("it is text")), "{error}");
    fs::write(&folder, b"no folder").expect("it can be written");
    let error = DirectoryVault::open(&folder).expect_err("it is a file");
    assert!(error.to_string().contains(folder.to_str().expect("it is text")), "{error}");
    fs::remove_file(&folder).expect("it can be removed");
}

/// Versions are told apart by their bytes, all of which have to be there.
fn chunk(version: u64) -> Vec<u8> {
    version.to_le_bytes().repeat(20_000)
}

fn version(part: &Part) -> u64 {
    let version = u64::from_le_bytes(part.chunk[..8].try_into().expect("eight bytes"));
    assert!(part.chunk == chunk(version), "{}: not one version", part.key);
    version
}

#[test]
#[ignore = "not a test: the process that the test below kills"]
fn saves_until_it_is_killed() {
    let folder = std::env::var_os(FOLDER).expect("the test below says where");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("there are threads");
    let vault = DirectoryVault::open(PathBuf::from(folder)).expect("it opens");
    runtime.block_on(async {
        let loaded = vault.load().await.expect("it loads");
        let first = loaded.parts.iter().map(version).max().unwrap_or(0) + 1;
        for version in first.. {
            vault.store(vec![part("a", &chunk(version)), part("b", &chunk(version))]).await.expect("it stores");
            println!("stored {version}");
            std::io::stdout().flush().expect("somebody listens");
        }
    });
}

/// Ends with its test, however that ends.
struct Saver(Child);

impl Drop for Saver {
    fn drop(&mut self) {
        // It may have ended; either way it is gone afterwards.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn whenever_it_is_killed_what_was_stored_is_there_and_nobody_else_has_the_folder_before() {
    let folder = folder("killed");
    let mut chance = Chance::new(1);
    let mut stored = 0;
    for round in 0..12 {
        let child = Command::new(std::env::current_exe().expect("this is a program"))
            .args(["saves_until_it_is_killed", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut saver = Saver(child);
        let lines = BufReader::new(saver.0.stdout.take().expect("it is piped")).lines();
        let mut versions = lines.filter_map(|line| line.ok()?.split_once("stored ")?.1.parse::<u64>().ok());
        stored = versions.next().expect("it stores something").max(stored);
        let refused = DirectoryVault::open(&folder).expect_err("the other process has it");
        let text = refused.to_string();
        assert!(text.contains("in use") && text.contains(folder.to_str().expect("it is text")), "{text}");
        std::thread::sleep(Duration::from_micros(chance.below(30_000)));
        drop(saver);
        stored = versions.last().unwrap_or(stored).max(stored);

        let vault = DirectoryVault::open(&folder).expect("the lock died with its process");
        let loaded = vault.load().await.expect("it loads");
        assert_eq!(loaded.broken, [], "round {round}");
        let found: Vec<u64> = loaded.parts.iter().map(version).collect();
        assert_eq!(found.len(), 2, "round {round}");
        // The version after it may have got there, in part or in full, without our being told.
        assert!(found.iter().all(|found| (stored..=stored + 1).contains(found)), "{found:?} of {stored}");
        assert_eq!(names(&folder), ["a.part", "b.part", "lock"]);
    }
    assert!(stored >= 12, "{stored}");
}

fn options(vault: &DirectoryVault) -> ReplicaOptions {
    let config = Config { bootstrap_ms: 0, ..guest::config("c", "a") };
    let vault: Arc<dyn Vault> = Arc::new(vault.clone());
    ReplicaOptions { vault: Some(vault), save_every_ms: 50, ..ReplicaOptions::standing(config) }
}

async fn call(replica: &Replica, method: &str, body: &str) -> String {
    let request = Request {
        method: method.to_owned(),
        path: VISITS.to_owned(),
        query: String::new(),
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
    };
    let answer = tokio::time::timeout(PATIENCE, replica.invoke(request)).await;
    let response = answer.expect("it answers in time").expect("it answers");
    format!("{} {}", response.status, String::from_utf8_lossy(&response.body))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standing_replica_saves_without_being_told_and_outlives_its_cluster() {
    let folder = folder("standing");
    let limits = Limits { instances: 4, ..Limits::default() };
    let runtime = Runtime::new(&guest::replica_component(), limits).expect("it compiles");
    let start = async |vault: &DirectoryVault| {
        let bus = Arc::new(Bus::new(BusConfig::default()));
        Replica::start(&runtime, bus, SystemWorld, options(vault)).await.expect("it starts")
    };
    let vault = DirectoryVault::open(&folder).expect("it opens");
    let a = start(&vault).await;
    let before = vault.load().await.expect("it loads").parts;
    assert!(call(&a, "POST", r#"{"increment":7}"#).await.starts_with("200"));
    let began = Instant::now();
    while vault.load().await.expect("it loads").parts == before {
        assert!(began.elapsed() < PATIENCE, "it does not save");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    a.kill();
    a.ended().await;
    // Nobody else is there to hand it the database.
    let again = start(&vault).await;
    assert!(call(&again, "GET", "").await.contains(r#""value":7"#));
    assert_eq!(again.report().vault_errors, 0);

    // Without its folder it goes on, and counts.
    fs::remove_dir_all(&folder).expect("it can be removed");
    assert!(call(&again, "POST", r#"{"increment":1}"#).await.starts_with("200"));
    let mut report = again.watch();
    let counted = tokio::time::timeout(PATIENCE, report.wait_for(|report| report.vault_errors >= 2)).await;
    let told = counted.expect("it tries again in time").expect("it lives").vault_error.clone();
    assert!(told.as_ref().is_some_and(|told| told.contains("vault-standing")), "{told:?}");
    assert!(call(&again, "GET", "").await.contains(r#""value":8"#));
}
