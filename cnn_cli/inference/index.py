"""A file of image features, and nearest-neighbor search in it.

The file is an uncompressed NumPy `.npz`: `features` (n, d) float32, `norms` (n,), `paths` (n,) in
UTF-8, and `meta`, a JSON document as uint8 with checkpoint, its digest, and layer. The features
begin at a multiple of 64 bytes, so that they can be memory-mapped.
"""

from __future__ import annotations

import io
import mmap
import os
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from cnn_cli import strict_json
from cnn_cli.data.depth import Pixels
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.reading_threads import Pool
from cnn_cli.errors import DataError, reason
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.embedding import Embedder
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import check_array_header, read_array

ALIGNED = 64  # bytes
LOCAL_HEADER, ZIP64_EXTRA = 30, 20  # bytes
PADDING = 0xD935  # the extra field of Android's zipalign
BLOCK = 2**12  # images compared at a time: small blocks keep all threads busy
MEMBERS = ("meta", "features", "norms", "paths")

Near = list[tuple[str, float]]
"""Paths and cosine similarities, nearest first."""


def index_meta(classifier: Classifier, layer: str | None) -> dict[str, Any]:
    """Return the metadata of an index.

    Args:
        layer: the requested layer.
    """
    return {
        "checkpoint": os.path.abspath(classifier.path),
        "digest": classifier.network_digest().hex(),
        "layer": layer,
    }


def write_index(
    file: BinaryIO, found: Iterable[tuple[Sequence[str], Array]], meta: dict[str, Any], folder: Path
) -> int:
    """Write an index; uses memory for one batch and the paths, and temporary disk space for the
    features.

    Args:
        file: open for writing.
        found: names and features, batch by batch.
        meta: the metadata.
        folder: a folder for the temporary file.

    Returns:
        The number of images.
    """
    paths: list[bytes] = []
    norms: list[Array] = []
    width = 0
    with TemporaryFile(dir=folder) as rows:
        for names, features in found:
            paths += [os.fsencode(name) for name in names]
            norms.append(_norms(features))
            width = features.shape[1]
            rows.write(features.data)
        rows.seek(0)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            text = strict_json.dumps(meta).encode()
            _add(archive, "meta", np.frombuffer(text, np.uint8))
            with _member(archive, "features") as member:
                shape, head = (len(paths), width), np.dtype(np.float32)
                npy.write_array_header_2_0(
                    member, {"descr": head.str, "fortran_order": False, "shape": shape}
                )
                while block := rows.read(2**20):
                    member.write(block)
            _add(archive, "norms", np.concatenate([np.empty(0), *norms]))
            _add(archive, "paths", np.array(paths, np.bytes_))
    return len(paths)


def _norms(features: Array) -> Array:
    """Return the lengths of rows of features, in float64: squares overflow in float32."""
    norms: Array = np.linalg.norm(features.astype(np.float64), axis=-1)
    return norms


def _add(archive: zipfile.ZipFile, name: str, array: Array) -> None:
    with _member(archive, name) as member:
        npy.write_array(member, array, allow_pickle=False)


def _member(archive: zipfile.ZipFile, name: str) -> Any:
    """Create a member whose content begins at a multiple of `ALIGNED`."""
    info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
    at = archive.start_dir + LOCAL_HEADER + len(info.filename) + ZIP64_EXTRA + 4
    room = -at % ALIGNED
    info.extra = PADDING.to_bytes(2, "little") + room.to_bytes(2, "little") + bytes(room)
    return archive.open(info, "w", force_zip64=True)


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """Features of n images, memory-mapped.

    Attributes:
        meta: the metadata: how they were computed.
        features: (n, d).
        norms: (n,).
        paths: (n,) bytes.
    """

    meta: dict[str, Any]
    features: Array
    norms: Array
    paths: Array

    @classmethod
    def open(cls, path: Path) -> Index:
        """Map a file written by `write_index`.

        Raises:
            DataError: it is not an index, damaged, or empty.
        """
        rule = "must be an index that cnn embed wrote"
        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                if not set(MEMBERS) <= set(members):
                    raise DataError(path, rule, "another .npz file")
                for name in ("meta", "norms", "features"):
                    check_array_header(archive, members[name], name, str(path))
                meta = strict_json.loads(read_array(archive, members["meta"]).tobytes())
                norms = read_array(archive, members["norms"])
                paths = read_array(archive, members["paths"])
                features = _mapped(file, archive, members["features"], str(path))
        except DataError:
            raise
        except zipfile.BadZipFile as error:
            raise DataError(path, rule, "a file that is cut short or of another kind") from error
        except OSError as error:
            raise DataError(path, "cannot be read", reason(error)) from error
        except Exception as error:  # for hostile files the readers raise any exception
            raise DataError(path, rule, reason(error)) from error
        sizes = {len(features), len(norms), len(paths)}
        if features.ndim != 2 or features.dtype != np.float32 or len(sizes) > 1:
            raise DataError(path, rule, "features, norms and paths that do not belong together")
        if paths.dtype.kind != "S" or not (isinstance(meta, dict) and meta.get("checkpoint")):
            raise DataError(path, rule, "paths or meta of another kind")
        if not len(features):
            raise DataError(path, "must hold at least one image", "none")
        return cls(meta, features, norms, paths)

    def embedder_of(self, place: str, classifier: Classifier, engine: Engine) -> Embedder:
        """Return an embedder that computes the same features.

        Raises:
            DataError: the network is not the one of the index.
        """
        if classifier.network_digest().hex() != self.meta.get("digest"):
            rule = f"was made by another network than {classifier.path}"
            raise DataError(place, rule)
        return Embedder(classifier, engine, self.meta.get("layer"))

    def nearest(self, features: Array, count: int, threads: int = 1) -> Near:
        """Return the nearest images; ties in index order.

        Args:
            features: (d,) finite features of an image.
            count: number of images, at most all whose features are finite.
            threads: number of threads; the result does not depend on it.
        """
        query = (features / np.maximum(_norms(features), 1e-30)).astype(np.float32)
        cosines = np.empty(len(self.features), np.float32)
        starts = iter(range(0, len(cosines), BLOCK))  # shared by all threads

        def compare() -> None:
            with np.errstate(over="ignore", invalid="ignore"):  # of features that are not finite
                for start in starts:
                    part = slice(start, start + BLOCK)
                    np.matmul(self.features[part], query, out=cosines[part])
                    cosines[part] /= np.maximum(self.norms[part], 1e-30)

        if threads == 1 or len(cosines) <= BLOCK:
            compare()
        else:
            with Pool(threads) as pool:
                pool.run(compare)
        known = cosines[np.isfinite(cosines)]
        count = min(count, len(known))
        if count == 0:
            return []
        # All that are as near as the last one, so that ties are in index order.
        least = np.partition(known, len(known) - count)[len(known) - count]
        near = np.flatnonzero(cosines >= least)
        best = near[np.argsort(-cosines[near], kind="stable")][:count]
        return [(os.fsdecode(bytes(self.paths[i])), float(cosines[i])) for i in best]


class Neighbors:
    """Finds the nearest images in an index.

    Args:
        index: the index.
        embed: computes the same features.
        count: number of images to find, at most all.
        threads: see `Index.nearest`.
    """

    def __init__(self, index: Index, embed: Embedder, count: int, threads: int) -> None:
        self.count = min(count, len(index.paths))
        self._index = index
        self._embed = embed
        self._threads = threads

    def __call__(self, images: Sequence[tuple[str, Pixels]]) -> list[Near | ImageError]:
        """Return the nearest images of each image, or why it cannot be compared.

        Args:
            images: paths and pixels of one or more images.
        """
        rows = self._embed([pixels for _, pixels in images])
        return [self._of(path, row) for (path, _), row in zip(images, rows, strict=True)]

    def _of(self, path: str, features: Array) -> Near | ImageError:
        if not np.isfinite(features).all():
            return ImageError(path, "must have finite features, to be compared")
        return self._index.nearest(features, self.count, self._threads)


def _mapped(file: BinaryIO, archive: zipfile.ZipFile, info: zipfile.ZipInfo, place: str) -> Array:
    """Map the array in a member."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise DataError(place, "must not be compressed, so that it can be mapped into memory")
    with archive.open(info) as member:
        head = io.BytesIO(member.read(12_000))
    version = npy.read_magic(head)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    shape, by_columns, dtype = readers[version](head)
    if by_columns:
        raise DataError(place, "must hold features row by row")
    # The local header says where the content begins: its extra field may differ from the
    # directory's.
    file.seek(info.header_offset + LOCAL_HEADER - 4)
    sizes = file.read(4)
    name, extra = (int.from_bytes(sizes[i : i + 2], "little") for i in (0, 2))
    offset = info.header_offset + LOCAL_HEADER + name + extra + head.tell()
    if 0 in shape:
        return np.empty(shape, dtype)
    content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    count = int(np.prod(shape))
    return np.frombuffer(content, dtype, count, offset).reshape(shape)
