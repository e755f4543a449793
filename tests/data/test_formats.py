"""Which of Pillow's formats are opened; no file runs a program."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from data_samples import encoded, noise
from PIL import Image, IptcImagePlugin, UnidentifiedImageError

from cnn_cli.data import decode, formats
from cnn_cli.data.decode import read_image
from cnn_cli.data.formats import COMMON, FORMATS, REFUSED, open_image
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.preprocess import Preprocess

PRE = Preprocess(6, 8, 3)
HEIC = base64.b85decode(  # of 64×48 pixels, written by pillow-heif
    "0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<0004fZDn*}000000000XXk=`10000000000aA{+7000000000000000"
    "00000B57=IV*mgE07O6l0RRC200001p#T8@00000001Na001LtX>Mi!000000RR916=`l}WdZ;I000310BCk&F#rGn"
    "01j|zbZr0t000010002}X>f9I0002pX>en20001XXm(>m0RwOV0058x000009`FGC{rLC*01pFT0096PKmiN^|NjGU"
    "00093kN^M!000939=ZZRVE_RDDnbDP18@KU0|1Z!00RI30{|YNAb|yz>g1-"
    "mxCm%4AOHXZ10VnZ0{|gn00967L;=Bbz=;3=025<xY;ta6Y<K_x01W^JfB*mh6lrsCWdHyG00000KmY&$KmY&$C}V7"
    "4Z~y=RKmY&$0RR91FaQ7m0RR91000000{{R2@Bjb+0ssI25O8UDX#fBK00RgJ2mk;87-"
    "?{AVE_OC000000RRC7fdT^sga7~lENx_AbN~PVASeN^8G!FerN95)Szqc@zv3$)fByDC-#}P@z99{@yZ"
)
ELSEWHERE = {"HEIF"}  # from another package
ROOT = Path(formats.__file__).parent.parent
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"


def iptc(content: bytes) -> bytes:
    """Return an IPTC container around something that claims to be a JPEG."""

    def field(record: int, tag: int, body: bytes) -> bytes:
        return bytes([0x1C, record, tag]) + len(body).to_bytes(2, "big") + body

    head = field(3, 20, b"\0\n") + field(3, 30, b"\0\n") + field(3, 60, b"\1\0")
    return head + field(3, 120, b"\5") + field(8, 10, content) + field(9, 10, b"\0")


def test_every_format_of_pillow_is_read_or_refused() -> None:
    Image.init()
    assert set(COMMON) <= FORMATS
    assert FORMATS.isdisjoint(REFUSED)
    assert set(Image.OPEN) - ELSEWHERE <= FORMATS | REFUSED.keys()


def test_images_are_opened_in_one_place() -> None:
    places = [
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if "Image.open(" in path.read_text(encoding="utf-8").replace("`Image.open", "")
    ]
    assert places == ["data/formats.py"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "TGA", "ICO", "ICNS", "PCX"])
def test_formats_that_a_person_has(kind: str) -> None:
    data = encoded(Image.fromarray(noise(32, 32, 3)), kind)
    with open_image(io.BytesIO(data)) as image:
        assert image.format == kind
    assert not isinstance(read_image(data, PRE), ImageError)


def test_a_container_that_would_open_anything() -> None:
    for content in (POSTSCRIPT, encoded(Image.fromarray(noise(10, 10, 3)), "JPEG")):
        data = iptc(content)
        IptcImagePlugin.IptcImageFile(io.BytesIO(data))  # Pillow accepts it as an image
        with pytest.raises(UnidentifiedImageError):
            open_image(io.BytesIO(data))
        found = read_image(data, PRE, "a.jpg")
        assert isinstance(found, ImageError)
        assert found.line() == "a.jpg: not an image Pillow can read."


@pytest.mark.parametrize("start", [b"", b"\xc5\xd0\xd3\xc6" + b"\x1e\0\0\0" + bytes(22)])
def test_postscript(start: bytes) -> None:
    found = read_image(start + POSTSCRIPT, PRE, "a.jpg")
    assert isinstance(found, ImageError)
    assert found.line() == "a.jpg: is PostScript, which is a program and not an image."


def test_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    """The left half of the image is red, the right half blue."""
    pytest.importorskip("pi_heif")
    assert open_image(io.BytesIO(HEIC)).format == "HEIF"
    pixels = read_image(HEIC, Preprocess(2, 4, 3, "squash"))
    assert not isinstance(pixels, ImageError)
    assert (pixels[:, 0, 0] > 150).all()
    assert (pixels[:, -1, 2] > 150).all()
    cut = read_image(HEIC[:300], PRE, "a.heic")
    assert isinstance(cut, ImageError)


def test_heif_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "has_heif", lambda: False)
    monkeypatch.setattr(decode, "has_heif", lambda: False)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    found = read_image(HEIC, PRE, "a.heic")
    assert isinstance(found, ImageError)
    assert found.line() == "a.heic: is HEIF; install the extra heic."


TRIED = """
import sys
from PIL import EpsImagePlugin, Image
from cnn_cli.data.check import check_folder
from cnn_cli.data.decode import fit_image, read_image, upright_size
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.proposal.survey import _look
from pathlib import Path
import cnn_cli
if sys.argv[1] == "ours":
    from cnn_cli.system import claim_process
    claim_process()
paths = sorted(map(str, Path("photos").rglob("*.jpg")))
for path in paths:
    print(read_image(path, Preprocess(6, 8, 3)), upright_size(path), _look(path))
check_folder(Path("photos"), 1)
drawing = Image.open("photos/a/plain.jpg")  # by somebody else
try:
    fit_image(drawing, Preprocess(6, 8, 3), "drawing")
except cnn_cli.ImageError as error:
    print(error)
print(Path("ran").exists(), EpsImagePlugin.gs_binary)
if sys.argv[1] != "ours":
    try:
        drawing.load()
    except Exception:
        print(Path("ran").exists())
"""


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_no_file_runs_a_program(tmp_path: Path, whose: str) -> None:
    """A stand-in for Ghostscript records whether it was run."""
    for name, data in (("plain", POSTSCRIPT), ("inside", iptc(POSTSCRIPT))):
        path = tmp_path / "photos" / "a" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "photos" / "b").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "b" / "good.jpg")
    gs = tmp_path / "bin" / "gs"
    gs.parent.mkdir()
    gs.write_text("#!/bin/sh\n: > ran\nexit 1\n")
    gs.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", TRIED, whose],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{gs.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    program = "is PostScript, which is a program and not an image."
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "photos/a/inside.jpg: not an image Pillow can read. None None",
        f"photos/a/plain.jpg: {program} None None",
    ]
    # In the program's own process Ghostscript is off; a user's process may draw EPS.
    assert lines[-3:] == (
        [lines[-3], f"drawing: {program}", "False False"]
        if whose == "ours"
        else [f"drawing: {program}", "False None", "True"]
    )
