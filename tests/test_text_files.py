"""Text files in every form that editors write."""

from __future__ import annotations

import codecs
import io
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import yaml

from cnn_cli.config.load import load_config
from cnn_cli.errors import CnnError, ConfigError, DataError
from cnn_cli.interop.name_files import read_classes, read_map
from cnn_cli.text_files import read_lines, read_text

ENDS = {"LF": "\n", "CR LF": "\r\n", "CR": "\r"}
FORMS = ("utf-8", "utf-8-sig", "utf-16-le", "utf-16-be")


def written(path: Path, text: str, form: str, end: str) -> Path:
    """Write a file as an editor does; UTF-16 begins with its mark."""
    mark = "\ufeff" if form.startswith("utf-16") else ""
    path.write_bytes((mark + text.replace("\n", end)).encode(form))
    return path


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=list(ENDS.values()), ids=list(ENDS))
def end(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_same_text(tmp_path: Path, form: str, end: str) -> None:
    text = "a\n\n é\u4e0d\U0001f33b \nb\u2028c\n"
    assert read_text(written(tmp_path / "a.txt", text, form, end), 1000) == text


def test_class_names(tmp_path: Path, form: str, end: str) -> None:
    path = written(tmp_path / "a.txt", "ant \n\n\tbée\nc\u2028d\n", form, end)
    assert read_classes(path) == ["ant", "bée", "c\u2028d"]
    path = written(tmp_path / "a.json", '["ant",\n"bée"]\n', form, end)
    assert read_classes(path) == ["ant", "bée"]


def test_a_map(tmp_path: Path, form: str, end: str) -> None:
    path = written(tmp_path / "a.yaml", "stem: première  \nhead: last\n", form, end)
    assert read_map(path) == {"stem": "première", "head": "last"}


def test_a_config(tmp_path: Path, form: str, end: str) -> None:
    document = {"data": {"root": "bée"}, "model": {"layers": ["relu", {"linear": "classes"}]}}
    text = yaml.safe_dump(document, allow_unicode=True)
    config = load_config(written(tmp_path / "a.yaml", text, form, end))
    assert config.data.root == str(tmp_path / "bée")


@pytest.mark.parametrize("error", [ConfigError, DataError])
def test_what_is_no_text(tmp_path: Path, error: type[CnnError]) -> None:
    def line(content: bytes) -> str:
        path = tmp_path / "a.txt"
        path.write_bytes(content)
        with pytest.raises(error) as caught:
            read_text(path, 10, error)
        assert caught.value.place == str(path)
        return caught.value.line().removeprefix(f"{path}: ")

    assert line(b"\xe9t\xe9") == "must be UTF-8 text."
    assert line(b"\xff\xfea") == "must be UTF-8 text."
    assert line(bytes(11)) == "must be at most 10 bytes."
    with pytest.raises(error) as caught:
        read_text(tmp_path / "none", 10, error)
    assert caught.value.line().endswith("none: cannot be read. Got no such file or directory.")


def test_lines_say_when_their_writer_is_waited_for() -> None:
    """Also within a line, in a byte order mark, and within a UTF-16 character."""

    class Pipe(io.BytesIO):
        def waits(self) -> bool:
            return True

        def read1(self, size: int | None = -1) -> bytes:
            return super().read1(3)

    rule = DataError("list", "too long")
    for start, encoding in ((b"", "utf-8"), (codecs.BOM_UTF8, "utf-8"), (b"\xff\xfe", "utf-16-le")):
        content = start + "ab\ncd\re".encode(encoding)
        found = list(read_lines(Pipe(content), 100, rule))
        assert [line for line in found if line is not None] == [b"ab", b"cd", b"e"]
        assert found.count(None) == -(-len(content) // 3) + 1


@pytest.mark.parametrize("is_opened", [False, True], ids=["without a writer", "without text"])
def test_a_pipe_does_not_delay_a_signal_of_another_thread(tmp_path: Path, is_opened: bool) -> None:
    """Nor one that comes just before the wait: neither interrupts the main thread's system call."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    came, late = threading.Event(), threading.Event()

    def handle(number: int, frame: object) -> None:
        came.set()
        raise InterruptedError("a signal")

    def send() -> None:
        writer = os.open(pipe, os.O_RDWR) if is_opened else -1
        time.sleep(0.3)  # the main thread waits by then; if it does not, the test passes too
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        if not came.wait(10):
            late.set()
            os.close(os.open(pipe, os.O_RDWR))  # so that the test fails instead of hanging
        if writer >= 0:
            os.close(writer)

    before = signal.signal(signal.SIGUSR1, handle)
    sender = threading.Thread(target=send)
    try:
        sender.start()
        with pytest.raises(DataError, match="a signal"):
            read_text(pipe, 1000)
        assert not late.is_set()
    finally:
        came.set()
        sender.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("w") as file:
            for part in ("a\n", "b\n"):
                file.write(part)
                file.flush()
                time.sleep(0.05)

    writer = threading.Thread(target=write)
    writer.start()
    assert read_text(pipe, 1000) == "a\nb\n"
    writer.join()
