"""Plain tables: columns are aligned for any content."""

from __future__ import annotations

from cnn_cli.report.text.table import cut_middle, display_width, format_pairs, format_table


def test_columns_line_up() -> None:
    rows = [("conv", "40"), ("a long name", "1,234")]
    assert format_table(("name", "n"), rows, "lr", ("total", "1,274")) == (
        "name             n\n"
        "-----------  -----\n"
        "conv            40\n"
        "a long name  1,234\n"
        "-----------  -----\n"
        "total        1,274\n"
    )


def test_wide_and_combining_characters() -> None:
    assert display_width("猫") == 2
    assert display_width("é") == display_width("e\u0301") == 1
    rows = [("猫", "1"), ("e\u0301", "22")]
    assert format_table(("n", "x"), rows, "lr") == ("n    x\n--  --\n猫   1\ne\u0301   22\n")


def test_control_characters_stay_in_their_cell() -> None:
    assert format_table(("a",), [("x\ny\x1b",)], "l") == "a\n--------\nx\\ny\\x1b\n"
    assert format_pairs([("a\nb", "1"), ("c", "2\t3")]) == "a\\nb  1\nc     2\\t3\n"


def test_no_rows() -> None:
    assert format_table(("name", "n"), [], "lr") == "name  n\n----  -\n"
    assert format_pairs([]) == ""


def test_the_first_column_is_shortened_to_fit() -> None:
    rows = [("a class of a very long name", "0.5"), ("cat", "1.0")]
    assert format_table(("class", "f1"), rows, "lr", width=20) == (
        "class             f1\n---------------  ---\na class…ng name  0.5\ncat              1.0\n"
    ), "a table of 20 columns"
    wide = format_table(("class", "f1"), rows, "lr", width=80)
    assert wide == format_table(("class", "f1"), rows, "lr")


def test_names_keep_a_few_columns_however_narrow_the_terminal_is() -> None:
    rows = [("a long name", "0.5")]
    assert format_table(("name", "f1"), rows, "lr", width=5).splitlines()[2] == "a lo…ame  0.5"


def test_cut_in_the_middle() -> None:
    assert cut_middle("abcdef", 6) == "abcdef"
    assert cut_middle("abcdefg", 6) == "abc…fg"
    assert cut_middle("猫猫猫猫", 5) == "猫…猫"
    assert cut_middle("abc", 1) == "a…"
