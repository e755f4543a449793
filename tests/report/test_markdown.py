"""Pages of the documentation in a terminal."""

from __future__ import annotations

import pytest

from cnn_cli.cli.docs import page_names, page_text
from cnn_cli.report.text.markdown import render_page, summary_of
from cnn_cli.report.text.table import display_width

PAGE = """\
# A page

What it is
about.

<!-- not shown -->

Words with `code in them` and **strong ones**, and a [page](config.md#data), some
[code](../nn/kernels/conv.py), a [site](https://example.org).

- an item that is so long that it goes on
  in the next line
- another

## Code

    cnn train  a.yaml

```yaml
model:

  layers: []
```

| key | meaning |
|---|---|
| `a\\|b` | so many words that they do not fit into one line of forty columns |
| c | |
"""
PLAIN = """\
A page
======

What it is about.


Words with `code in them` and **strong
ones**, and a page (`cnn docs config`),
some code (`cnn_cli/nn/kernels/conv.py`),
a site (https://example.org).

- an item that is so long that it goes on
  in the next line
- another

Code
----

    cnn train  a.yaml

    model:

      layers: []

key    meaning
-----  ----------------------------------
`a|b`  so many words that they do not fit
       into one line of forty columns
c
"""


def test_plain() -> None:
    assert render_page(PAGE, 41, styled=False) == PLAIN
    assert summary_of(PAGE) == "What it is about."


def test_styled() -> None:
    text = render_page("# A page\n\nSome `code here` of it, **strong**.\n", 40, styled=True)
    code, strong, end = "\x1b[36m", "\x1b[1m", "\x1b[0m"
    assert text == (
        f"{strong}A page{end}\n\nSome {code}code{end} {code}here{end} of it, {strong}strong{end}.\n"
    )


def test_styles_take_no_columns() -> None:
    plain = render_page("`aaaa` `bbbb` `cccc`\n", 13, styled=True).splitlines()
    assert [line.count("\x1b[36m") for line in plain] == [2, 1]


def test_a_word_that_is_too_long_is_cut() -> None:
    text = render_page("| a | b |\n|---|---|\n| " + "x" * 30 + " | y |\n", 20, styled=False)
    assert max(map(len, text.splitlines())) <= 20
    assert text.count("x") == 30


@pytest.mark.parametrize("name", page_names())
@pytest.mark.parametrize("width", [60, 80])
def test_no_line_is_longer_than_the_terminal(name: str, width: int) -> None:
    """Except for code, whose lines are not wrapped."""
    lines = render_page(page_text(name), width, styled=False).splitlines()
    assert [
        line for line in lines if display_width(line) > width and not line.startswith("    ")
    ] == []
    assert not any(line.startswith(("|", "```", "#")) for line in lines)


def test_a_picture_is_described() -> None:
    text = render_page("# Title\n\n![A line that rises](pictures/a.svg)\n", 80, False)
    assert text.endswith("\nPicture: A line that rises.\n")
