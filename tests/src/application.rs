//! The application for Spin in a process of its own: under this repository's platform, or under the real `spin up`.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dayfly_conformance::http::{Answer, Request};
use serde_json::Value;

use crate::client::Client;
use crate::node::broker_url;
use crate::status::Status;

/// What the test command tells (xtask/src/spin.rs): the folder of the application for the newer Spin.
const PACKAGE_VARIABLE: &str = "DAYFLY_SPIN_PACKAGE";
/// Names the program `spin`, where there is one.
const SPIN_VARIABLE: &str = "DAYFLY_SPIN";
/// How long anything that is awaited may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// What runs applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// `spin-platform`, of this repository.
    Ours,
    /// `spin up`.
    Real,
}

impl Platform {
    /// Why it cannot be had.
    pub fn absence(self) -> Option<&'static str> {
        (self == Self::Real && env::var_os(SPIN_VARIABLE).is_none()).then_some("no spin: set DAYFLY_SPIN")
    }
}

/// Where an application's key-value store is. It outlives the application's processes, and goes when it is dropped.
#[derive(Debug)]
pub struct StateFolder(PathBuf);

impl StateFolder {
    /// A new one.
    pub fn new() -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("dayfly-spin-{}-{number}", std::process::id()));
        fs::create_dir_all(folder.join("state"))?;
        Ok(Self(folder))
    }

    fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    fn log(&self) -> PathBuf {
        self.0.join("platform.log")
    }
}

impl Drop for StateFolder {
    fn drop(&mut self) {
        // What stays behind disturbs nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An application that runs. Dropping it kills the platform's process, with all instances.
#[derive(Debug)]
pub struct Application {
    child: Child,
    url: String,
    control: Option<String>,
}

impl Application {
    /// Starts one of this cluster at the tests' broker, with further variables, and waits until it is served.
    pub fn start(platform: Platform, cluster: &str, state: &StateFolder, variables: &[(&str, &str)]) -> Result<Self> {
        let broker = broker_url()?;
        let address = broker_address(&broker)?;
        let usual = [("broker", &*broker), ("broker_address", &*address), ("cluster", cluster)];
        Self::start_with(platform, state, &[&usual[..], variables].concat(), &[])
    }

    /// The same with these variables alone, and with further arguments of the platform.
    pub fn start_with(
        platform: Platform,
        state: &StateFolder,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> Result<Self> {
        let log = fs::File::options().create(true).append(true).open(state.log())?;
        let (mut command, port) = match platform {
            Platform::Ours => (ours()?, 0),
            Platform::Real => real()?,
        };
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--state-dir"]).arg(state.state()).args(arguments);
        for (name, value) in variables {
            command.args(["--variable", &format!("{name}={value}")]);
        }
        let (told, stderr) = (state.0.join("platform.told"), log);
        command.stdin(Stdio::null()).stdout(fs::File::create(&told)?).stderr(stderr);
        // `spin up` runs another process: a signal is to reach both.
        let child = command.process_group(0).spawn().with_context(|| format!("{:?}", command.get_program()))?;
        let mut application = Self { child, url: format!("http://127.0.0.1:{port}"), control: None };
        let until = Instant::now() + PATIENCE;
        let log = || fs::read_to_string(state.log()).unwrap_or_default();
        while !application.is_served(platform, &told, port)? {
            if let Some(ended) = application.child.try_wait()? {
                bail!("the platform has ended: {ended}: {}", log());
            }
            ensure!(Instant::now() < until, "the platform does not listen: {}", log());
            thread::sleep(POLL);
        }
        Ok(application)
    }

    /// Whether it is; if so, where is known from then on.
    fn is_served(&mut self, platform: Platform, told: &Path, port: u16) -> Result<bool> {
        if platform == Platform::Real {
            return Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        }
        let told = fs::read_to_string(told)?;
        let Some((first, _)) = told.split_once('\n') else { return Ok(false) };
        let line: Value = serde_json::from_str(first).with_context(|| format!("no JSON: {first}"))?;
        let address = |name: &str| line[name].as_str().with_context(|| format!("no {name}: {first}"));
        self.url = format!("http://{}", address("listening")?);
        self.control = Some(format!("http://{}", address("control")?));
        Ok(true)
    }

    /// Where it is served.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The number of its platform's process. Of the real Spin it is the one that runs the other.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How its platform's process has ended, if it has.
    pub fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// A client of it.
    pub fn client(&self) -> Result<Client> {
        Client::new(&self.url)
    }

    /// Asks it.
    pub fn ask(&self, request: &Request) -> Result<Answer> {
        self.client()?.ask(request)
    }

    /// Reads from it.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.client()?.get(path)
    }

    /// Writes to it.
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        let headers = [("content-type".to_owned(), b"application/json".to_vec())];
        self.client()?.send("POST", path, &headers, body.to_string().as_bytes())
    }

    /// The status of the replica that happens to answer.
    pub fn status(&self) -> Result<Status> {
        let answer = self.get("/v1/status")?;
        ensure!(answer.status == 200, "{} {}", answer.status, String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).context("the status is not as wit/http-api.md has it")
    }

    /// Keeps an instance awake by a linger request, and waits until that is over. Gives its lines.
    pub fn linger(&self, seconds: u64) -> Result<Vec<Value>> {
        linger(&mut self.client()?, seconds)
    }

    /// Keeps an instance awake by a linger request, and waits for nothing.
    pub fn begin_linger(&self, seconds: u64) -> Result<()> {
        let mut client = self.client()?;
        // It ends with the application, and then as it likes.
        thread::spawn(move || linger(&mut client, seconds));
        Ok(())
    }

    /// Waits until a replica of it has the whole database, as far as it can know.
    pub fn await_filled(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !self.status()?.complete {
            ensure!(Instant::now() < until, "it is not filled: {:?}", self.status()?);
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// What the platform has counted. Only ours counts.
    pub fn stats(&self) -> Result<Value> {
        let answer = self.control()?.get("/stats")?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Has the platform drop all instances. Only ours does that when it is told to.
    pub fn evict(&self) -> Result<()> {
        let answer = self.control()?.send("POST", "/evict", &[], b"")?;
        ensure!(answer.status < 300, "{answer:?}");
        Ok(())
    }

    fn control(&self) -> Result<Client> {
        Client::new(self.control.as_deref().context("this platform tells nothing")?)
    }

    /// Stops it, with all instances.
    pub fn freeze(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal("CONT")
    }

    /// Kills it at once, with all instances.
    pub fn kill(mut self) -> Result<()> {
        self.signal("KILL")?;
        self.child.wait()?;
        Ok(())
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let group = format!("-{}", self.child.id());
        let sent = Command::new("kill").args([&format!("-{signal}"), "--", &group]).status()?;
        ensure!(sent.success(), "no {signal} can be sent to it");
        Ok(())
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // It may have ended by itself.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal("KILL");
            let _ = self.child.wait();
        }
    }
}

/// The address of a broker, as Spin compares it: of names it takes the one that it would connect to.
///
/// # Errors
/// The URL names no host, or one that there is not.
pub fn broker_address(url: &str) -> Result<String> {
    let (_, rest) = url.split_once("://").context("no scheme in the URL")?;
    let host = rest.rsplit('@').next().and_then(|rest| rest.split(['/', '?']).next()).context("no host in the URL")?;
    let mut addresses = host.to_socket_addrs().with_context(|| format!("{host:?} cannot be resolved"))?;
    Ok(addresses.next().with_context(|| format!("{host:?} has no address"))?.to_string())
}

fn linger(client: &mut Client, seconds: u64) -> Result<Vec<Value>> {
    let answer = client.get(&format!("/v1/linger?seconds={seconds}"))?;
    let body = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 200, "{} {body}", answer.status);
    body.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no status line: {line}"))).collect()
}

fn package() -> Result<PathBuf> {
    let told = env::var_os(PACKAGE_VARIABLE);
    Ok(told.with_context(|| format!("{PACKAGE_VARIABLE} is not set: run the tests by `cargo xtask test`"))?.into())
}

/// The platform of this repository: the program stands beside the folder in which cargo put this test.
fn ours() -> Result<Command> {
    let own = env::current_exe()?;
    let mut folders = own.ancestors().skip(1).take(2);
    let file = folders.find_map(|folder| Some(folder.join("spin-platform")).filter(|file| file.is_file()));
    let file = file.context("no program `spin-platform` beside this test: run the tests by `cargo xtask test`")?;
    let mut command = Command::new(file);
    let package = package()?;
    command.arg("--compiled").arg(package.with_file_name("compiled")).arg("--from").arg(package);
    Ok(command)
}

/// `spin up` with the application for its release, and the port that it is to listen at.
fn real() -> Result<(Command, u16)> {
    let spin = env::var_os(SPIN_VARIABLE).with_context(|| format!("{SPIN_VARIABLE} names no program"))?;
    let version = Command::new(&spin).arg("--version").output().with_context(|| format!("{spin:?}"))?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let newer = package()?;
    let folder = if version.contains(" 4.0") { newer.with_file_name("dayfly-spin-4.0") } else { newer };
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let mut command = Command::new(spin);
    command.args(["up", "--quiet", "--from"]).arg(folder.join("spin.toml"));
    Ok((command, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_broker_is_that_of_its_host() -> Result<()> {
        ensure!(broker_address("amqp://u:p@127.0.0.1:5690/v?heartbeat=1")? == "127.0.0.1:5690");
        ensure!(broker_address("amqp://127.0.0.1:5690")? == "127.0.0.1:5690");
        ensure!(broker_address("127.0.0.1:5690").is_err());
        Ok(())
    }
}
