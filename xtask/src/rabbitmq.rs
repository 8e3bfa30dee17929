//! A RabbitMQ of our own: on free loopback ports, with all that it writes in one folder, and gone when xtask is gone.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command;
use crate::debian;
use crate::workspace::Workspace;

/// Tells tests the URL of a broker.
pub const URL_VARIABLE: &str = "DAYFLY_TEST_BROKER";
/// Tells tests the URL of the same broker over TLS.
pub const TLS_URL_VARIABLE: &str = "DAYFLY_TEST_BROKER_TLS";
/// Tells tests the file of the authority that signed the broker's certificate.
pub const CA_VARIABLE: &str = "DAYFLY_TEST_BROKER_CA";
/// Tells tests a program that takes the arguments of `rabbitmqctl` and acts on that broker: `stop_app` and `start_app`
/// make a restart.
pub const CONTROL_VARIABLE: &str = "DAYFLY_TEST_RABBITMQ";

/// The usual port of `cargo xtask rabbitmq`: not RabbitMQ's own, which may be taken.
pub const PORT: u16 = 5673;

/// How to get it on Debian. openssl makes the certificate for the tests of TLS.
const INSTALL: &str = "apt-get install -y --no-install-recommends --no-remove rabbitmq-server openssl";

/// Where Debian keeps the scripts that do not insist on the user `rabbitmq`, in a folder of each version.
const DEBIAN_FOLDER: &str = "/usr/lib/rabbitmq/lib";

/// How long it may take to start; some seconds are usual.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A server that runs. Dropping it ends it. So does the end of this process, however it ends: a shell watches over the
/// server and kills it when the pipe that it reads from is closed.
pub struct RabbitMq {
    folder: PathBuf,
    port: u16,
    tls_port: u16,
    watch: Child,
}

impl RabbitMq {
    /// Starts one with data of its own that nobody had before, for tests.
    ///
    /// # Errors
    /// Says what to install, or why it did not start.
    pub fn start_for_tests(workspace: &Workspace) -> Result<Self> {
        Self::start_anew(workspace, "rabbitmq-tests")
    }

    /// The same for benches, which may run while tests do.
    ///
    /// # Errors
    /// As [`Self::start_for_tests`].
    pub fn start_for_benches(workspace: &Workspace) -> Result<Self> {
        Self::start_anew(workspace, "rabbitmq-benches")
    }

    /// The same for a soak.
    ///
    /// # Errors
    /// As [`Self::start_for_tests`].
    pub fn start_for_soak(workspace: &Workspace) -> Result<Self> {
        Self::start_anew(workspace, "rabbitmq-soak")
    }

    /// Has it live as long as what this command runs, by which this process may be replaced: that keeps open what the
    /// watch reads from, as its standard input.
    pub fn hand_over_to(mut self, command: &mut Command) {
        if let Some(kept) = self.watch.stdin.take() {
            command.stdin(kept);
        }
        // Dropping it would wait for its end.
        std::mem::forget(self);
    }

    fn start_anew(workspace: &Workspace, folder: &str) -> Result<Self> {
        let folder = workspace.target.join(folder);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}", workspace.shown(&folder)))?;
        }
        Self::start(folder, free_port()?)
    }

    /// Starts one that keeps its data, and lets it run until this process is ended.
    ///
    /// # Errors
    /// As [`Self::start_for_tests`]; or it ended by itself.
    pub fn run_in_foreground(workspace: &Workspace, port: u16) -> Result<()> {
        let folder = workspace.target.join(format!("rabbitmq-{port}"));
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            bail!("the port {port} is taken; choose another one with --port");
        }
        let mut server = Self::start(folder, port)?;
        println!("RabbitMQ runs at {}, and keeps its data in {}", server.url(), workspace.shown(&server.folder));
        println!("rabbitmqctl for it: {}. Ctrl-C ends it.", workspace.shown(&server.control()));
        // Not `wait`, which would close the pipe.
        let status = loop {
            match server.watch.try_wait()? {
                Some(status) => break status,
                None => thread::sleep(Duration::from_millis(500)),
            }
        };
        bail!("RabbitMQ ended ({status}); see {}", workspace.shown(&server.folder.join("server.log")));
    }

    /// Tells a command's tests where the server is.
    pub fn announce_to(&self, command: &mut Command) {
        command
            .env(URL_VARIABLE, self.url())
            .env(TLS_URL_VARIABLE, format!("amqps://guest:guest@localhost:{}/", self.tls_port))
            .env(CA_VARIABLE, self.folder.join("tls/ca.pem"))
            .env(CONTROL_VARIABLE, self.control());
    }

    fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/", self.port)
    }

    fn control(&self) -> PathBuf {
        self.folder.join("rabbitmqctl")
    }

    fn start(folder: PathBuf, port: u16) -> Result<Self> {
        let scripts = find_or_install()?;
        fs::create_dir_all(&folder)?;
        let tls_port = free_port()?;
        certify(&folder.join("tls"))?;
        let text = |path: &Path| path.to_str().map(str::to_owned).with_context(|| format!("{path:?} is not UTF-8"));
        let shown = text(&folder)?;
        fs::write(folder.join("rabbitmq.conf"), configuration(&shown, port, tls_port))?;
        // None: the management plugin costs a second of start and 60 MB.
        fs::write(folder.join("enabled_plugins"), "[].\n")?;
        fs::write(folder.join("environment"), environment(&shown, port, free_port()?, free_port()?))?;
        let (server, control) = (text(&scripts.join("rabbitmq-server"))?, text(&scripts.join("rabbitmqctl"))?);
        script(&folder.join("watch"), &format!("#!/bin/sh\n. '{shown}/environment'\n{}", watch(&server)))?;
        script(&folder.join("rabbitmqctl"), &format!("#!/bin/sh\n. '{shown}/environment'\nexec {control} \"$@\"\n"))?;

        let log = fs::File::create(folder.join("server.log"))?;
        let mut command = Command::new(folder.join("watch"));
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        // Its own group, which it kills as a whole; and Ctrl-C at the terminal must not end the watch before its work.
        let watch = command.process_group(0).spawn().context("cannot start RabbitMQ")?;
        let mut server = Self { folder, port, tls_port, watch };
        server.await_start()?;
        Ok(server)
    }

    fn await_start(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < START_LIMIT {
            if let Some(status) = self.watch.try_wait()? {
                bail!("RabbitMQ did not start ({status}):\n{}", self.log_tail());
            }
            if speaks_amqp(self.port) && speaks_tcp(self.tls_port) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(100));
        }
        bail!("RabbitMQ did not start within {} s:\n{}", START_LIMIT.as_secs(), self.log_tail());
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        // Closes the pipe: the watch kills its group, itself included.
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}

/// The folder with `rabbitmq-server` and `rabbitmqctl`.
fn find_or_install() -> Result<PathBuf> {
    if let Some(folder) = find() {
        return Ok(folder);
    }
    // Only the installation: Debian would start a server at once, on the usual port.
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let told = format!("there is no RabbitMQ; on Debian, as root, run `apt-get update && {INSTALL}`");
    let added = !policy.exists() && fs::write(policy, "#!/bin/sh\nexit 101\n").is_ok();
    if added {
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755))?;
    }
    let installed = debian::install("RabbitMQ", INSTALL);
    if added {
        fs::remove_file(policy)?;
    }
    installed.context(told.clone())?;
    find().context(told)
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let can = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    if !can("epmd") || !can("openssl") {
        return None;
    }
    let versions = Path::new(DEBIAN_FOLDER).read_dir().into_iter().flatten().flatten();
    let of_debian = versions.map(|version| version.path().join("sbin"));
    let has_both = |folder: &PathBuf| ["rabbitmq-server", "rabbitmqctl"].iter().all(|name| folder.join(name).exists());
    of_debian.chain(std::env::split_paths(&path)).find(has_both)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Whether a broker answers at this port.
fn speaks_amqp(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut first = [0; 1];
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && std::io::Write::write_all(&mut stream, b"AMQP\x00\x00\x09\x01").is_ok()
        && stream.read_exact(&mut first).is_ok()
        // A method's frame.
        && first == [1]
}

fn speaks_tcp(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Starts the server and its name service, and kills both when the pipe is closed, or when the server has ended.
fn watch(server: &str) -> String {
    format!(
        "epmd -port \"$ERL_EPMD_PORT\" -address 127.0.0.1 </dev/null &\n\
         until epmd -names >/dev/null 2>&1; do sleep 0.1; done\n\
         {server} </dev/null &\n\
         server=$!\n\
         (while kill -0 $server 2>/dev/null; do sleep 1; done; kill -KILL 0) </dev/null &\n\
         cat >/dev/null\n\
         kill -KILL 0\n"
    )
}

/// What the server and its control program need to know.
fn environment(folder: &str, port: u16, name_port: u16, node_port: u16) -> String {
    let pairs = [
        // The cookie stands there.
        ("HOME", folder.to_owned()),
        ("RABBITMQ_NODENAME", format!("dayfly-{port}@localhost")),
        ("ERL_EPMD_PORT", name_port.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        // A control program that finds no server must not leave a name service behind.
        ("RABBITMQ_CTL_ERL_ARGS", "-start_epmd false".to_owned()),
        ("RABBITMQ_DIST_PORT", node_port.to_string()),
        // Nothing of what the machine's own RabbitMQ is configured by.
        ("RABBITMQ_CONF_ENV_FILE", format!("{folder}/none")),
        ("RABBITMQ_CONFIG_FILE", format!("{folder}/rabbitmq.conf")),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", format!("{folder}/none")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", format!("{folder}/enabled_plugins")),
        ("RABBITMQ_MNESIA_BASE", format!("{folder}/data")),
        ("RABBITMQ_LOG_BASE", format!("{folder}/log")),
        ("RABBITMQ_PLUGINS_EXPAND_DIR", format!("{folder}/plugins")),
        ("RABBITMQ_GENERATED_CONFIG_DIR", format!("{folder}/config")),
        ("RABBITMQ_SCHEMA_DIR", format!("{folder}/schema")),
        ("RABBITMQ_PID_FILE", format!("{folder}/pid")),
        // Idle schedulers must not spin beside the tests.
        (
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none".to_owned(),
        ),
    ];
    pairs.map(|(key, value)| format!("export {key}='{value}'\n")).concat()
}

fn configuration(folder: &str, port: u16, tls_port: u16) -> String {
    format!(
        "listeners.tcp.local = 127.0.0.1:{port}\n\
         listeners.ssl.local = 127.0.0.1:{tls_port}\n\
         ssl_options.cacertfile = {folder}/tls/ca.pem\n\
         ssl_options.certfile = {folder}/tls/server.pem\n\
         ssl_options.keyfile = {folder}/tls/server.key\n\
         ssl_options.verify = verify_none\n\
         disk_free_limit.absolute = 100MB\n"
    )
}

/// Makes an authority and a certificate for `localhost` in this folder, if they are not there.
fn certify(folder: &Path) -> Result<()> {
    if folder.join("server.pem").exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    fs::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")?;
    for line in [
        "req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=dayfly-test-authority -keyout ca.key -out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr",
        "x509 -req -days 365 -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -out server.pem",
    ] {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(folder).args(line.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
        command::run(&mut openssl)?;
    }
    Ok(())
}
