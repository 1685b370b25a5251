//! The page of `report --format html` in a real browser: it draws, and fits a phone.

use std::{fs, process::Command};

use crate::{
    skip::{Noise, turn},
    small::{SMALL, namespace},
    tool::{Tool, binary},
    workload::Lane,
};

const BROWSERS: [&str; 3] = ["chromium-headless-shell", "chromium", "google-chrome"];

/// Shows a page in a frame, and says of it: its width, and how many shapes of its pictures have a size.
const PROBE: &str = r#"<!DOCTYPE html><title>-</title>
<iframe id="f" src="page.html" width="400" height="900" style="border:0"></iframe>
<p id="said"></p>
<script>
document.getElementById("f").onload = (loaded) => {
  const page = loaded.target.contentDocument;
  const shapes = [...page.querySelectorAll("svg path.line, svg rect.bar")];
  const drawn = shapes.filter((s) => { const b = s.getBoundingClientRect(); return b.width > 0 && b.height > 0; });
  document.getElementById("said").textContent =
    `width=${page.documentElement.scrollWidth} shapes=${shapes.length} drawn=${drawn.length}`;
};
</script>"#;

fn browser() -> Option<&'static str> {
    let there = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    BROWSERS.into_iter().find(there)
}

#[test]
fn the_page_draws_in_a_browser() {
    let Some(_turn) = turn("the_page_draws_in_a_browser", Noise::Little) else {
        return;
    };
    let Some(browser) = browser() else {
        eprintln!("skipped: the_page_draws_in_a_browser: none of {BROWSERS:?} is installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.html");
    let space = namespace(Lane { test: 20, space: 0 }, SMALL);
    let netns = space.inode.to_string();
    let mut command = Command::new(binary());
    command.args(["report", "--format", "html", "--netns", &netns, "-o"]);
    let tool = Tool::attached(command.arg(&path));
    space.run();
    std::thread::sleep(std::time::Duration::from_millis(600));
    tool.interrupt().assert_success();

    fs::write(folder.path().join("probe.html"), PROBE).unwrap();
    let shown = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--allow-file-access-from-files",
        ])
        .args(["--virtual-time-budget=10000", "--dump-dom"])
        .arg(format!("file://{}/probe.html", folder.path().display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&shown.stdout);
    let said = dom.split("id=\"said\">").nth(1).unwrap_or_default();
    let figure = |name: &str| -> usize {
        let said = said.split(&format!("{name}=")).nth(1).unwrap_or_default();
        let number: String = said.chars().take_while(char::is_ascii_digit).collect();
        number
            .parse()
            .unwrap_or_else(|_| panic!("{name}: {dom}\n{}", String::from_utf8_lossy(&shown.stderr)))
    };
    assert!(
        figure("width") <= 400,
        "a phone must scroll: {}",
        figure("width")
    );
    assert!(figure("shapes") >= 10, "{}", figure("shapes"));
    // A line along the axis has no height.
    assert!(
        figure("drawn") * 2 > figure("shapes"),
        "{}",
        figure("drawn")
    );
}
