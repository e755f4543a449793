"""An image that cannot be decoded leaves nothing in memory, and takes no longer than an intact
one.
"""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_samples import encoded, noise
from PIL import Image

from cnn_cli.data.cache import ImageCache
from cnn_cli.data.decode import load_image, read_image
from cnn_cli.data.decode_ahead import decode_batches, decode_stream
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.sources import expand_sources

PRE = Preprocess(6, 8, 3)
KINDS = (
    *("BMP", "DDS", "GIF", "ICNS", "ICO", "IM", "JPEG", "JPEG2000", "MPO", "PCX", "PNG"),
    *("PPM", "SGI", "SPIDER", "TGA", "TIFF", "WEBP"),
)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Turn off garbage collection, so that only references keep objects alive."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> int:
    """Return the number of Pillow images; for proxies, whose object may be gone, the type is
    used.
    """
    return sum(issubclass(type(each), Image.Image) for each in gc.get_objects())


def damaged(kind: str) -> Iterator[bytes]:
    """Yield image files that are truncated, or damaged in the middle."""
    image = Image.fromarray(noise(64, 64, 3))
    whole = encoded(image.convert("F") if kind == "SPIDER" else image, kind)
    for part in (1, 2, 3):
        yield whole[: len(whole) * part // 4]
    middle = len(whole) // 2
    yield whole[:middle] + bytes(len(whole) // 4) + whole[middle + len(whole) // 4 :]


def holds_nothing(error: ImageError) -> bool:
    held = (error.__traceback__, error.__cause__, error.__context__)
    return all(each is None for each in held)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("no_collector")
def test_nothing_of_a_damaged_file_stays_alive(kind: str) -> None:
    files = list(damaged(kind))
    before, kept = alive(), []
    for data in files:
        found = read_image(data, PRE)
        kept.append(found)
        if isinstance(found, ImageError):
            assert holds_nothing(found)
            with pytest.raises(ImageError) as caught:
                load_image(data, PRE)
            kept.append(caught.value)  # with the traceback of a raised one
            assert caught.value.__cause__ is caught.value.__context__ is None
    # Pillow before 13 accepts the damaged DDS.
    assert kind == "DDS" or any(isinstance(each, ImageError) for each in kept)
    assert alive() == before


@pytest.mark.usefixtures("no_collector")
def test_errors_that_are_kept_hold_nothing(tmp_path: Path) -> None:
    for number, data in enumerate(damaged("PNG")):
        (tmp_path / f"{number}.png").write_bytes(data)
    paths = [str(path) for path in sorted(tmp_path.iterdir())]
    items = list(zip(paths, paths, strict=True))
    before = alive()
    kept: list[object] = [image for _, image in decode_stream(items, PRE, 2)]
    kept += [image for batch in decode_batches([items], PRE, 1) for _, image in batch]
    with ImageCache.open("none", paths, PRE) as cache:
        for i in range(len(paths)):
            for _ in range(2):
                with pytest.raises(ImageError):
                    cache.get(i)
        kept += cache.bad.values()
    errors = [each for each in kept if isinstance(each, ImageError)]
    assert len(errors) == 3 * len(paths)
    assert all(map(holds_nothing, errors))
    assert alive() == before


def test_an_endless_stdin_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnn_cli.data.decode.MOST_BYTES", 10)
    ((_, error),) = expand_sources(["-"], io.BytesIO(bytes(11)))
    assert isinstance(error, ImageError)
    assert error.line() == "-: must have at most 10 bytes."
    assert holds_nothing(error)


MEASURED = """
import sys
from pathlib import Path
from PIL import Image, ImageFile
from cnn_cli.data.check import check_folder
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.decode_ahead import decode_batches
from cnn_cli.data.opening import open_dataset
from cnn_cli.data.cache import ImageCache
from cnn_cli.data.loader import Loader

now = most = 0
create = Image.core.new

def counting(mode, size):
    global now, most
    now = sum(type(each._im).__name__ == "ImagingCore" for each in loaded())
    most = max(most, now + 1)
    return create(mode, size)

def loaded():
    import gc
    return [each for each in gc.get_objects()
            if isinstance(each, ImageFile.ImageFile) and each.size == (2000, 2000)]

import gc
gc.disable()
Image.core.new = counting
paths = sorted(map(str, Path("photos/a").iterdir()))
threads = int(sys.argv[1])
for _ in decode_batches([list(zip(paths, paths))], Preprocess(8, 8, 1), threads):
    pass
print("predict", most)
most = 0
split = open_dataset(Path("photos"), None, 0).train
for mode in ("none", "ram"):
    with ImageCache.open(mode, split.paths, Preprocess(8, 8, 1)) as cache:
        loader = Loader(split, cache, 32, threads)
        for _ in loader.batches(range(len(split))):
            pass
        assert len(loader.bad) == 16
print("train", most)
most = 0
check_folder(Path("photos"), threads)
print("check", most)
"""


def test_as_many_are_decoded_at_once_as_threads_decode(tmp_path: Path) -> None:
    data = encoded(Image.new("1", (2000, 2000)))
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "photos" / name / "good.png")
    for number in range(16):
        (tmp_path / "photos" / "a" / f"{number}.png").write_bytes(data[: len(data) * 2 // 3])
    for threads in (1, 2):
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, str(threads)],
            cwd=tmp_path,
            env=os.environ,
            capture_output=True,
            text=True,
            check=True,
        )
        counts = dict(line.split() for line in done.stdout.splitlines())
        assert counts.keys() == {"predict", "train", "check"}
        assert all(1 <= int(count) <= threads for count in counts.values()), counts
