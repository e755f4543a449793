"""TensorBoard files of a run: metrics of epochs, training images, confusion matrices."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import count, islice
from math import ceil, isfinite, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnn_cli.data.depth import viewable
from cnn_cli.errors import DataError, reason
from cnn_cli.files import make_folder
from cnn_cli.inference.validation import GROUP, NAME
from cnn_cli.nn.types import Array
from cnn_cli.runs.folder import TENSORBOARD
from cnn_cli.training.preview import samples
from cnn_cli.training.session import Hook, Session

Pixels = NDArray[np.uint8]
SAMPLES = 16
SIDE = 512  # approximate size of a confusion matrix in pixels
DARK = np.array([8, 48, 107])  # color of a cell with all images of its class
_numbers = count()


class TensorBoard(Hook):
    """Writes events into the run folder, on rank 0, after the checkpoints."""

    def __init__(self) -> None:
        self._events: Events | None = None

    def before_epoch(self, session: Session) -> None:
        if self._events is None:
            epoch = session.state.epoch
            self._events = Events(session.run.path / TENSORBOARD, epoch + 1)
            if epoch == 0 and (images := _samples(session)):
                self._events.image("train/samples", grid(images), epoch)
                self._events.flush()

    def after_epoch(self, session: Session) -> None:
        row = session.state.rows[-1]
        epoch = row["epoch"]
        if self._events is None or epoch < self._events.step:  # a rollback moved training back
            self.close()
            self._events = Events(session.run.path / TENSORBOARD, epoch)
        self._events.step = epoch + 1
        self._events.scalars(row, epoch)
        if (matrix := session.confusion.get(GROUP, {}).get(NAME)) is not None:
            self._events.image("val/confusion", confusion_picture(matrix), epoch)
        self._events.flush()

    def close(self) -> None:
        if self._events is not None:
            self._events.close()


class Events:
    """One file of events. From its first step on, it overrides earlier files.

    tensorboardX's SummaryWriter writes in a thread and waits for it forever when the disk is full,
    so only its parts are used.

    Attributes:
        step: the next step to write.

    Args:
        folder: the folder of all event files of the run.
        step: the first step.

    Raises:
        DataError: in every method: the file cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        self.step = step
        self._folder = folder
        make_folder(folder)
        with self._writing():
            # File names contain the current second, in which another file may have begun.
            ending = f".{os.getpid()}.{next(_numbers)}"
            self._writer: Any = EventsWriter(str(folder / "events"), ending)
        self._write(step, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, row: Mapping[str, Any], step: int) -> None:
        """Write the numbers of a row of `metrics.csv`: `train_loss` as `train/loss`."""
        for name, value in row.items():
            if name != "epoch" and value is not None and isfinite(value):
                part, _, rest = name.partition("_")
                tag = f"{part}/{rest}" if part in ("train", "val") else name
                self._write_value(step, tag=tag, simple_value=value)

    def image(self, tag: str, pixels: Pixels, step: int) -> None:
        """Write an image, (h, w, 1 or 3)."""
        from tensorboardX.proto.summary_pb2 import Summary

        png = io.BytesIO()
        Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(png, "PNG")
        height, width, channels = pixels.shape
        image = Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=png.getvalue()
        )
        self._write_value(step, tag=tag, image=image)

    def flush(self) -> None:
        with self._writing():
            self._writer.flush()

    def close(self) -> None:
        with self._writing():
            self._writer.close()

    def _write_value(self, step: int, **value: Any) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        self._write(step, summary=Summary(value=[Summary.Value(**value)]))

    def _write(self, step: int, **what: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        with self._writing():
            self._writer.write_event(Event(wall_time=time.time(), step=step, **what))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(self._folder, "cannot be written", reason(error)) from error


def _samples(session: Session) -> list[Pixels]:
    """Return the first training images."""
    with closing(samples(session.setup.config, session.data, session.state.epoch)) as found:
        return [viewable(sample.pixels) for sample in islice(found, SAMPLES)]


def grid(images: list[Pixels]) -> Pixels:
    """Arrange images of one size, (h, w, c), in about as many rows as columns."""
    columns = ceil(sqrt(len(images)))
    blank = [np.zeros_like(images[0])] * (-len(images) % columns)
    rows = [*images, *blank]
    return np.vstack([np.hstack(rows[i : i + columns]) for i in range(0, len(rows), columns)])


def confusion_picture(matrix: Array) -> Pixels:
    """Draw a confusion matrix: rows are classes, columns predictions, darkness the share of the
    row.
    """
    shares = matrix / matrix.sum(axis=1, keepdims=True).clip(min=1)
    colors = np.rint(255 + shares[..., None] * (DARK - 255)).astype(np.uint8)
    size = max(1, SIDE // len(matrix))
    picture: Pixels = colors.repeat(size, axis=0).repeat(size, axis=1)
    return picture
