"""`cnn report` in headless Chromium; skipped without it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from patience import PATIENCE

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
QUIET = (
    "--headless",
    "--no-sandbox",  # root needs it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=2000",
    "--timeout=600000",
    "--dump-dom",
)
PHONE = 390
# A page of a phone's width around the report, because Chromium's windows are at least 500 pixels
# wide. It measures the report, whose own policy forbids scripts.
OUTER = """<!DOCTYPE html><html><body style="margin:0">
<iframe id="page" src="SOURCE" style="border:0;width:WIDTHpx;height:3000px"></iframe>
<pre id="found"></pre>
<script>
document.getElementById("page").addEventListener("load", (event) => {
  const inner = event.target.contentDocument;
  const main = inner.documentElement;
  const wide = [...inner.querySelectorAll("body *")].filter((one) =>
    one.getBoundingClientRect().right > main.clientWidth + 1 && !one.closest(".scroll, .skip"));
  const images = [...inner.images].filter((one) => !one.naturalWidth).length;
  document.getElementById("found").textContent = [
    main.scrollWidth - main.clientWidth,
    wide.map((one) => one.outerHTML.slice(0, 60)).join("; "), images,
    inner.querySelectorAll("section").length, getComputedStyle(inner.body).backgroundColor
  ].join("|");
});
</script></body></html>
"""

SECTIONS = 11  # of a report of one run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def browse(page: Path, profile: Path, *options: str) -> tuple[str, str]:
    """Return the page as rendered by the browser, and the console log."""
    line = [str(CHROMIUM), *QUIET, f"--user-data-dir={profile}", *options, page.as_uri()]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return done.stdout, "\n".join(re.findall(r".*CONSOLE.*", done.stderr))


@pytest.fixture(scope="module")
def report(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cnn_cli.cli.main import run

    file = tmp_path_factory.mktemp("pages") / "report.html"
    assert run(["report", str(trained), "--output", str(file)]) == 0
    return file


def test_no_console_error(report: Path, tmp_path: Path) -> None:
    dom, console = browse(report, tmp_path)
    assert console == ""
    assert dom.count("<section") == SECTIONS
    (report.parent / "bad.html").write_text("<script>console.error('x')</script>")
    assert "x" in browse(report.parent / "bad.html", tmp_path)[1], "an error would be seen"


@pytest.mark.parametrize(("scheme", "paper"), [(1, "255, 255, 255"), (0, "15, 18, 22")])
def test_nothing_is_wider_than_a_phone(
    report: Path, tmp_path: Path, scheme: int, paper: str
) -> None:
    outer = report.parent / "outer.html"
    outer.write_text(OUTER.replace("SOURCE", report.name).replace("WIDTH", str(PHONE)))
    options = ("--allow-file-access-from-files", f"--blink-settings=preferredColorScheme={scheme}")
    dom, console = browse(outer, tmp_path, *options)
    assert console == ""
    match = re.search('<pre id="found">(.*?)</pre>', dom, re.DOTALL)
    assert match is not None
    beyond, wide, broken, sections, background = match[1].split("|")
    assert (beyond, wide, broken, sections) == ("0", "", "0", str(SECTIONS))
    assert background == f"rgb({paper})"
