"""Check an HTML page: nesting, ids, alternative texts, and self-containedness."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
PARENTS = {
    "li": {"ul", "ol"},
    "dt": {"div", "dl"},
    "dd": {"div", "dl"},
    "caption": {"table"},
    "thead": {"table"},
    "tbody": {"table"},
    "tfoot": {"table"},
    "tr": {"thead", "tbody", "tfoot"},
    "td": {"tr"},
    "th": {"tr"},
    "figcaption": {"figure"},
    "summary": {"details"},
}
ONCE = ("html", "head", "body", "main", "h1", "style")
NO_BLOCK_IN = {"p", "h1", "h2", "h3", "span", "a", "figcaption", "caption"}
BLOCKS = {"p", "div", "ul", "dl", "table", "figure", "section", "h1", "h2", "h3", "pre", "details"}


class Page(HTMLParser):
    """A parsed page, with its faults.

    Args:
        text: the file's text.

    Attributes:
        faults: in words; none in a good page.
        text: the visible text.
        headings: level and text.
        images: attributes of each.
        elements: number of each kind.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.text = ""
        self.headings: list[tuple[int, str]] = []
        self.images: list[dict[str, str]] = []
        self.elements: dict[str, int] = {}
        self._open: list[str] = []
        self._ids: set[str] = set()
        self._wanted: set[str] = set()
        if not text.startswith("<!DOCTYPE html>\n"):
            self.faults.append("no doctype")
        self.feed(text)
        self.close()
        self._finish(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._start(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._start(tag, attrs)
        if "svg" not in self._open:
            self.faults.append(f"<{tag}/> outside of SVG")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes another element")

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data
        if self._open and re.fullmatch("h[1-6]", self._open[-1]):
            self.headings[-1] = (self.headings[-1][0], self.headings[-1][1] + data)

    def _start(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if len(given) < len(attrs):
            self.faults.append(f"<{tag}> has an attribute twice")
        self.elements[tag] = self.elements.get(tag, 0) + 1
        parent = self._open[-1] if self._open else ""
        if parent not in PARENTS.get(tag, {parent}):
            self.faults.append(f"<{tag}> in <{parent}>")
        if parent in NO_BLOCK_IN and tag in BLOCKS:
            self.faults.append(f"<{tag}> in <{parent}>")
        if tag in ("script", "iframe", "object", "embed", "form"):
            self.faults.append(f"<{tag}>")
        if any(name.startswith("on") for name in given):
            self.faults.append(f"<{tag}> with a script")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))
        if "id" in given:
            if given["id"] in self._ids or not given["id"]:
                self.faults.append(f"id {given['id']} twice")
            self._ids.add(given["id"])
        for name in ("aria-labelledby", "aria-describedby"):
            self._wanted.update(given.get(name, "").split())
        self._check(tag, given)

    def _check(self, tag: str, given: dict[str, str]) -> None:
        if tag == "html" and not given.get("lang"):
            self.faults.append("no language")
        if tag == "img":
            self.images.append(given)
            if not given.get("alt"):
                self.faults.append("an image without alt")
        if tag == "th" and given.get("scope") not in ("col", "row"):
            self.faults.append("a <th> without scope")
        if tag == "svg" and given.get("role") != "img" and given.get("aria-hidden") != "true":
            self.faults.append("an SVG that is neither an image nor hidden")
        if given.get("role") == "region" and not given.get("aria-label"):
            self.faults.append("a region without a name")
        for name in ("src", "href", "srcset", "xlink:href", "action", "poster", "data"):
            value = given.get(name)
            if value is None:
                continue
            if value.startswith("#"):
                self._wanted.add(value[1:])
            elif not value.startswith("data:"):
                self.faults.append(f"{name}={value[:40]}")
        if "url(" in given.get("style", ""):
            self.faults.append("a style that fetches")

    def _finish(self, text: str) -> None:
        self.faults += [f"<{tag}> is not closed" for tag in self._open]
        self.faults += [f"no id {name}" for name in sorted(self._wanted - self._ids)]
        for tag in ONCE:
            if self.elements.get(tag) != 1:
                self.faults.append(f"{self.elements.get(tag, 0)} of <{tag}>")
        before = 0
        for level, heading in self.headings:
            if level > before + 1:
                self.faults.append(f"h{level} after h{before}: {heading}")
            before = level
        for style in re.findall(r"<style>(.*?)</style>", text, re.DOTALL):
            if re.search(r"url\(|@import", style):
                self.faults.append("a style sheet that fetches")
