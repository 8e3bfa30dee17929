//! A page of an experiment, looked at by a browser where one is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// What Chromium is called.
const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
/// How long a browser may take for a page.
const PATIENCE: Duration = Duration::from_secs(180);
/// A page with plots takes so many times the bytes of an empty one: both are PNG, which packs a single colour well.
const FULLER: u64 = 10;

fn main() -> std::process::ExitCode {
    let trials = ["light", "dark"].map(|scheme| {
        Trial::ignorable_test(format!("a_page_is_drawn_by_a_browser_in_its_{scheme}_colours"), move || {
            let Some(browser) = browser() else {
                let reason = format!("none of these is installed: {}", BROWSERS.join(", "));
                return Ok(Completion::ignored_with(reason));
            };
            looks_like_a_page(&browser, scheme)?;
            Ok(Completion::Completed)
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

/// The first browser in the path.
fn browser() -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let found = |name: &&str| folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    BROWSERS.iter().find_map(found)
}

fn looks_like_a_page(browser: &Path, scheme: &str) -> Result<(), Failed> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("screenshot-{scheme}"));
    fs::create_dir_all(&folder)?;
    let (page, empty) = (folder.join("page.html"), folder.join("empty.html"));
    run(Command::new(env!("CARGO_BIN_EXE_dayfly"))
        .args(["experiment", "run", "gset", "--seconds", "8", "--quiet", "--html"])
        .arg(&page))?;
    // The same, but for its body.
    let html = fs::read_to_string(&page)?;
    let head = html.split_once("<body>").ok_or("a page has a body")?.0;
    fs::write(&empty, format!("{head}<body></body></html>"))?;
    let (full, blank) = (screenshot(browser, &page, scheme)?, screenshot(browser, &empty, scheme)?);
    if full < FULLER * blank {
        return Err(
            format!("its picture has {full} bytes, that of an empty page {blank}: see {}", folder.display()).into()
        );
    }
    Ok(())
}

/// Has a picture of a page taken. Gives its length in bytes.
fn screenshot(browser: &Path, page: &Path, scheme: &str) -> Result<u64, Failed> {
    let picture = page.with_extension("png");
    // Of an earlier run.
    let _ = fs::remove_file(&picture);
    let scheme = if scheme == "dark" { 0 } else { 1 };
    run(Command::new(browser)
        // Many containers let nobody make a sandbox; the page is ours. Nothing is resolved: it stands by itself.
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
        .args(["--no-first-run", "--disable-extensions", "--host-resolver-rules=MAP * ~NOTFOUND"])
        .arg(format!("--user-data-dir={}", page.with_extension("profile").display()))
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg("--window-size=1400,2600")
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", page.display())))?;
    let bytes = fs::read(&picture).map_err(|error| format!("{}: {error}", picture.display()))?;
    if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Err(format!("{} is no PNG", picture.display()).into());
    }
    Ok(bytes.len() as u64)
}

/// Runs a program to its end, which must be a good one.
fn run(command: &mut Command) -> Result<(), Failed> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            return if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) };
        }
        sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Err(format!("{command:?} took longer than {PATIENCE:?}").into())
}
