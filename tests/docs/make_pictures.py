"""Generate the pictures of README and pages: `python tests/docs/make_pictures.py`.

Diagrams are drawn. Everything else is recorded: it trains `configs/small.yaml` on `data/fashion`,
and keeps the commands' output and files, with screenshots of the report by Chromium. `--diagrams`
only draws the diagrams.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from diagrams import DIAGRAMS
from PIL import Image

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "cnn_cli/docs/pictures"
COLUMNS, LINES = 80, 50
SESSION = (
    "cnn train configs/small.yaml",
    "cnn predict data/fashion/val/bag/0018.png --ckpt runs/small",
    "cnn report runs/small",
)
DRAWN = {
    "preview": "cnn data preview configs/small.yaml augment.hflip=0.5 augment.cutmix=true "
    "--output preview.png",
    "explain": "cnn explain data/fashion/val/bag/0018.png data/fashion/val/coat/0006.png "
    "data/fashion/val/sandal/0008.png data/fashion/val/shirt/0004.png --ckpt runs/small",
}
SHOTS = {  # of the report: width, height, and preferred color scheme
    "report": (1120, 1250, 1),
    "report-dark": (1120, 1250, 0),
    "report-phone": (500, 1100, 1),
}
CHARACTER, LINE, MARGIN = 7.8, 17, 16  # pixels of the terminal's image
PROMPT, TEXT, SCREEN = "#7ee787", "#e6edf3", "#0d1117"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--diagrams", action="store_true", help="draw the diagrams alone")
    FOLDER.mkdir(exist_ok=True)
    for name, draw in DIAGRAMS.items():
        (FOLDER / f"{name}.svg").write_text(draw(), encoding="utf-8")
    if not parser.parse_args().diagrams:
        with tempfile.TemporaryDirectory() as folder:
            record(Path(folder))


def record(home: Path) -> None:
    """Run the commands in a folder that looks like a clone, and keep the files."""
    for name in ("configs", "data/fashion"):
        shutil.copytree(ROOT / name, home / name)
    typed = [(line, list(on_terminal(line, home))) for line in SESSION]
    (FOLDER / "terminal.svg").write_text(terminal(typed), encoding="utf-8")
    for line in DRAWN.values():
        list(on_terminal(line, home))
    keep(home / "preview.png", "preview", 640)
    keep(next((home / "explain").glob("sheet*.png")), "explain", 640)
    for name in ("curves", "confusion"):
        keep(home / f"runs/small/{name}.png", name, 640)
    report = home / "runs/small/report.html"
    page = report.read_text(encoding="utf-8").replace(f"{home}/", "")
    report.write_text(page, encoding="utf-8")
    for name, (width, height, scheme) in SHOTS.items():
        shot = home / f"{name}.png"
        screenshot(report, shot, width, height, scheme)
        keep(shot, name, 840 if width > 1000 else 390)


def on_terminal(line: str, home: Path) -> Iterator[str]:
    """Yield the lines on a terminal of 80 columns when a command ends."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "NO_COLOR": "1"}
    words = [sys.executable, "-m", "cnn_cli", *line.split()[1:]]
    with subprocess.Popen(
        words, cwd=home, stdin=follower, stdout=follower, stderr=follower, env=environment
    ) as process:
        os.close(follower)
        written = b""
        while True:
            try:
                written += (some := os.read(leader, 65536))
            except OSError:  # Linux's end of a terminal
                break
            if not some:
                break
    os.close(leader)
    assert process.returncode == 0, written.decode()
    for row in written.decode().replace("\r\n", "\n").split("\n"):
        # A bar is overwritten; a command's own lines have no carriage return.
        if shown := re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", row.rpartition("\r")[2]).rstrip():
            yield shown.expandtabs()


def terminal(typed: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Draw a session as an animation of lines that are all visible at the end."""
    rows: list[tuple[str, str, float]] = []
    seconds = 0.0
    for line, shown in typed:
        rows.append((f"$ {line}", PROMPT, seconds))
        seconds += 1.0
        for text in shown:
            rows.append((text, TEXT, seconds))
            seconds += 0.25
        rows.append(("", TEXT, seconds))
        seconds += 1.0
    width = round(COLUMNS * CHARACTER + 2 * MARGIN)
    height = (len(rows) - 1) * LINE + 2 * MARGIN
    lines = [
        f'<text xml:space="preserve" x="{MARGIN}" y="{MARGIN + LINE * place + 12}" fill="{color}" '
        f'style="animation-delay:{at:.2f}s">{escape(text)}</text>'
        for place, (text, color, at) in enumerate(rows)
        if text
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}">',
            "<title>A terminal: training, a prediction and a report</title>",
            "<style>text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',"
            "monospace;animation:shown .01s backwards}"
            "@keyframes shown{from{opacity:0}}"
            "@media (prefers-reduced-motion:reduce){text{animation:none}}</style>",
            f'<rect width="{width}" height="{height}" rx="8" fill="{SCREEN}"/>',
            *lines,
            "</svg>\n",
        ]
    )


def screenshot(page: Path, to: Path, width: int, height: int, scheme: int) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("chromium: must be installed, for screenshots of the report")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",  # root needs it
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
                f"--blink-settings=preferredColorScheme={scheme}",
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                f"--screenshot={to}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
        )


def keep(file: Path, name: str, most: int) -> None:
    """Save an image with a width of at most `most` pixels and 128 colors, which makes it small."""
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    if picture.width > most:
        height = round(picture.height * most / picture.width)
        picture = picture.resize((most, height), Image.Resampling.LANCZOS)
    picture.quantize(128, dither=Image.Dither.NONE).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
