"""The pages: generated parts are up to date, links lead somewhere, examples run."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import make_pages
import pytest

from cnn_cli.cli.docs import FOLDER, page_names, page_text

ROOT = make_pages.ROOT
PAGES = {path: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}
PAGES[ROOT / "README.md"] = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def name_of(path: Path) -> str:
    return path.stem


def links(path: Path) -> list[tuple[str, str]]:
    """Return texts and targets of the links to files on a page."""
    found = LINK.findall(FENCE.sub("", PAGES[path]))
    return [(text, target) for text, target in found if "://" not in target]


def anchors(text: str) -> set[str]:
    """Return the anchors of a page, as GitHub names them."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def defined(path: Path) -> set[str]:
    """Return the names of a module's functions, classes, methods and constants."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                found.add(name)
    return found


@pytest.mark.parametrize("name", make_pages.pages())
def test_pages_written_from_the_code_are_up_to_date(name: str) -> None:
    """If not, run `python tests/docs/make_pages.py`."""
    assert make_pages.pages()[name] == page_text(name), "run python tests/docs/make_pages.py"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    for _, target in links(path):
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_code_that_is_named_is_there(path: Path) -> None:
    """The text of a link to a module is a name in it."""
    for text, target in links(path):
        if target.endswith(".py"):
            names = {name.split(".")[-1] for name in re.findall(r"`([^`]+)`", text)}
            module = (path.parent / target).resolve()
            assert names <= defined(module) | {module.stem}, (text, target)


def test_the_page_about_convolution_names_its_code() -> None:
    text = page_text("convolution")
    for name in ("im2col", "col2im", "_gather", "_scatter", "transform_weight", "out_size"):
        assert f"{name}`](../nn/" in text


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_pages_are_plain_markdown(path: Path) -> None:
    """Rows of a table have equal numbers of cells, fences are closed, and no line contains a
    tab.
    """
    text = PAGES[path]
    assert text.startswith("# ")
    assert text.endswith("\n")
    assert text.count("```") % 2 == 0
    rest = FENCE.sub("", text)
    for block in re.findall(r"(?:^\|.*\n)+", rest, re.MULTILINE):
        rows = [re.split(r"(?<!\\)\|", row) for row in block.splitlines()]
        assert len({len(row) for row in rows}) == 1, block
        assert re.fullmatch(r"\|(-+\|)+", block.splitlines()[1]), block
    assert len(re.findall(r"^# ", rest, re.MULTILINE)) == 1


def test_the_readme_links_to_every_page() -> None:
    targets = {target.partition("#")[0] for _, target in links(ROOT / "README.md")}
    assert {f"cnn_cli/docs/{name}.md" for name in page_names()} <= targets


def test_the_example_of_convolution_prints_what_the_page_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (language, code), (_, expected) = FENCE.findall(page_text("convolution"))
    assert language == "python"
    exec(compile(code, "convolution.md", "exec"), {})
    assert capsys.readouterr().out == expected
    assert "False" not in expected


def test_the_messages_of_troubleshooting_are_the_program_s() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "cnn_cli").rglob("*.py")]
    together = re.sub(r'"\s*\n\s*f?"', "", "\n".join(sources))
    rows = re.findall(r"^\| (`.*?) \|", page_text("troubleshooting"), re.MULTILINE)
    quoted = [text for row in rows for text in re.findall(r"`([^`]+)`", row)]
    program = [text for text in quoted if " " in text and "[report]" not in text]
    assert len(program) > 9
    for text in program:
        assert text in together or text == "cnn: command not found", text
