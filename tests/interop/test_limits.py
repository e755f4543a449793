"""Foreign files that would take too much memory, refer to other files, or have unusual dtypes."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_cli.errors import DataError, size_text
from cnn_cli.interop import limits
from cnn_cli.interop.foreign import Foreign
from cnn_cli.interop.importing import ImportOptions, import_weights
from cnn_cli.interop.limits import MOST_TIMES, ROOM, Budget
from cnn_cli.interop.reading import read_foreign
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import Checkpoint, save_checkpoint

GIGABYTES = 5 * 10**9  # of float32 claimed by a bomb
LENGTH = GIGABYTES // 4
MOST_TRACED = 40_000_000  # bytes allowed for refusing a file
NETWORK = {
    "class_name": "Sequential",
    "config": {
        "layers": [{"class_name": "Dense", "config": {"name": "d", "activation": "linear"}}]
    },
}


def message(path: Path) -> str:
    """Return the error for a refused file, without allocating its claimed memory."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            read_foreign(path)
        assert tracemalloc.get_traced_memory()[1] < MOST_TRACED
    finally:
        tracemalloc.stop()
    assert "\n" not in caught.value.line()
    return caught.value.line().removeprefix(f"{path}: ")


def too_much(path: Path, nbytes: str) -> str:
    size = size_text(path.stat().st_size)
    return f"must not unpack to more than {MOST_TIMES} times its size. Got {nbytes} of {size}."


def arrays_of(foreign: Foreign) -> dict[str, Array]:
    return {f"{m.name}.{key}": value for m in foreign.modules for key, value in m.arrays.items()}


def h5(path: Path, make: Callable[[Any, Any], None]) -> Path:
    """Write a Keras file with one layer `d`; `make` adds its arrays to the group."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(NETWORK)
        group = file.create_group("model_weights/d")
        group.attrs["weight_names"] = [b"d/kernel:0"]
        make(h5py, group)
    return path


def test_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(1000))
    Budget(path).take(ROOM)
    budget = Budget(path)
    budget.take(ROOM - 8)
    with pytest.raises(DataError) as caught:
        budget.take_array((3,), 4)
    rule = f"must not unpack to more than {MOST_TIMES} times its size"
    assert caught.value.line() == f"{path}: {rule}. Got 268.4 MB of 1.0 kB."
    path.write_bytes(bytes(ROOM // MOST_TIMES + 1000))
    Budget(path).take(ROOM + 1000)
    monkeypatch.setattr(limits, "available_memory", lambda: 1_000_000)
    Budget(path).take(1_000_000)
    with pytest.raises(DataError) as caught:
        Budget(path).take(1_000_001)
    assert caught.value.line() == f"{path}: must fit into memory. Got 1.0 MB of 1.0 MB."


def external(h5py: Any, group: Any) -> None:
    group.create_dataset("d/kernel:0", (1, 3), "f4", external=[("secret.bin", 0, 12)])


def external_link(h5py: Any, group: Any) -> None:
    group.create_group("d")["kernel:0"] = h5py.ExternalLink("other.h5", "/k")


def soft_link(h5py: Any, group: Any) -> None:
    group.file["elsewhere"] = np.ones((1, 3), "f4")
    group.create_group("d")["kernel:0"] = h5py.SoftLink("/elsewhere")


def linked_folder(h5py: Any, group: Any) -> None:
    group.file.create_dataset("elsewhere/kernel:0", data=np.ones((1, 3), "f4"))
    group["d"] = h5py.SoftLink("/elsewhere")


def virtual(h5py: Any, group: Any) -> None:
    layout = h5py.VirtualLayout((1, 3), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "k", (1, 3))
    group.create_virtual_dataset("d/kernel:0", layout)


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (external, "numbers elsewhere, of d/kernel:0"),
        (external_link, "a link, d/kernel:0"),
        (soft_link, "a link, d/kernel:0"),
        (linked_folder, "a link, d/kernel:0"),
        (virtual, "numbers elsewhere, of d/kernel:0"),
    ],
)
def test_hdf5_that_leads_elsewhere(tmp_path: Path, make: Any, got: str) -> None:
    path = h5(tmp_path / "a.h5", make)
    assert message(path) == f"must hold its arrays itself. Got {got}."


def no_chunks(h5py: Any, group: Any) -> None:
    group.create_dataset("d/kernel:0", (LENGTH, 1), "f4", chunks=(2**16, 1), compression="gzip")


def a_large_chunk(h5py: Any, group: Any) -> None:
    group.create_dataset("d/kernel:0", (1, 0), "f4", maxshape=(None, None), chunks=(LENGTH // 5, 1))


@pytest.mark.parametrize(("make", "nbytes"), [(no_chunks, "5.0 GB"), (a_large_chunk, "1.0 GB")])
def test_hdf5_bombs(tmp_path: Path, make: Any, nbytes: str) -> None:
    path = h5(tmp_path / "a.h5", make)
    assert message(path) == too_much(path, nbytes)


def test_texts_in_the_place_of_numbers(tmp_path: Path) -> None:
    path = h5(
        tmp_path / "a.h5",
        lambda _, group: group.create_dataset("d/kernel:0", data=np.array([b"abc"], "S3")),
    )
    assert message(path) == "has numbers of an unsupported type. Got |S3 in d/kernel:0."


def test_deep_documents_are_one_line(tmp_path: Path) -> None:
    deep = "[" * 100_000
    path = tmp_path / "model.json"
    path.write_text(deep)
    assert message(path) == "must be a JSON document."
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "[" * 50_000 + "]" * 50_000
        file.create_group("model_weights")
    assert message(path) == "must describe its network in JSON."


def test_deep_lists_of_classes(tmp_path: Path) -> None:
    weights = Path(__file__).parent / "data" / "zip.pth"
    (tmp_path / "net.yaml").write_text("model: {layers: [linear: classes]}\n")
    path = tmp_path / "names.json"
    path.write_text("[" * 5000 + "]" * 5000)
    with pytest.raises(DataError) as caught:
        import_weights(
            weights,
            str(tmp_path / "net.yaml"),
            [],
            tmp_path / "o.npz",
            ImportOptions(classes_file=path),
        )
    assert caught.value.line() == f"{path}: must be JSON, or have a name a line."


def model_json(folder: Path, shape: list[int], paths: list[str], **more: Any) -> Path:
    weights = [{"name": "d/kernel", "shape": shape, "dtype": "float32", **more}]
    document = {
        "modelTopology": {"model_config": NETWORK},
        "weightsManifest": [{"paths": paths, "weights": weights}],
    }
    path = folder / "model.json"
    path.write_text(json.dumps(document))
    return path


def test_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ROOM", 10_000_000)
    (tmp_path / "a.bin").write_bytes(bytes(1_000_000))
    path = model_json(tmp_path, [250_000], ["a.bin"] * 300)
    assert message(path).startswith(f"must not unpack to more than {MOST_TIMES} times its size.")
    path = model_json(tmp_path, [-1], ["a.bin"])
    assert message(path) == "must have a sound weightsManifest. Got d/kernel of shape (-1,)."
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "b.bin")
        path = model_json(tmp_path, [1], ["b.bin"])
        with pytest.raises(DataError) as caught:
            read_foreign(path)
        assert caught.value.line() == f"{tmp_path}/b.bin: must be a regular file."
        os.mkfifo(tmp_path / "c.pth")
        assert message(tmp_path / "c.pth") == "must be a regular file."


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(array: Array) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    return file.getvalue()


def test_npz(tmp_path: Path) -> None:
    header = npy(np.zeros(3, "<f4")).replace(b"(3,), ", b"(%d,)," % 10**9, 1)[:128]
    path = npz(tmp_path / "a.npz", weight=header + bytes(12))
    assert message(path) == "is damaged or cut short. Got a wrong size of weight."
    path = npz(tmp_path / "b.npz", weight=npy(np.array([{}])))
    assert message(path) == "must hold plain numbers only. Got pickled objects in weight."
    path = tmp_path / "c.npz"
    zeros = np.zeros(10_000_000, "f4")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(7):
            archive.writestr(f"{i}.npy", npy(zeros))
    with pytest.raises(DataError) as caught:
        read_foreign(path)
    assert caught.value.line() == f"{path}: {too_much(path, '280.0 MB')}"


@pytest.mark.parametrize("group", ["validation", "optimizer", "rejection", "of_a_later_version"])
def test_a_checkpoints_model_alone_is_taken(tmp_path: Path, group: str) -> None:
    weight = np.ones((2, 3), "f4")
    meta = {
        "config": {},
        "classes": ["a", "b"],
        "preprocess": {"height": 1, "width": 1, "channels": 1, "resize_mode": "crop"},
        "mean": [0.5],
        "std": [0.5],
    }
    groups: dict[str, dict[str, Array]] = {"model": {"a/weight": weight}}
    save_checkpoint(
        tmp_path / "a.npz", Checkpoint(meta, groups | {group: {"confusion": np.eye(2)}})
    )
    foreign = read_foreign(tmp_path / "a.npz")
    found = arrays_of(foreign)
    assert list(found) == ["a.weight"]
    np.testing.assert_array_equal(found["a.weight"], weight)
    note = "the file's network refuses images, which is not imported"
    assert foreign.notes == ((note,) if group == "rejection" else ())


def test_numbers_of_safetensors(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")

    def write(kind: str, content: bytes, shape: list[int]) -> Path:
        header = {"a.weight": {"dtype": kind, "shape": shape, "data_offsets": [0, len(content)]}}
        text = json.dumps(header).encode()
        path = tmp_path / "a.safetensors"
        path.write_bytes(struct.pack("<Q", len(text)) + text + content)
        return path

    values = np.array([[1.0, -2.5, 3.140625]], "<f4")
    bits = (values.view("<u4") >> 16).astype("<u2")
    found = arrays_of(read_foreign(write("BF16", bits.tobytes(), [1, 3])))
    assert found["a.weight"].dtype == np.float32
    np.testing.assert_array_equal(found["a.weight"], values)
    rule = "has numbers of an unsupported type"
    path = write("F8_E4M3", bytes(6), [2, 3])
    assert message(path) == f"{rule}. Got F8_E4M3 in a.weight."


def test_shards_of_safetensors(tmp_path: Path) -> None:
    save = pytest.importorskip("safetensors.numpy").save_file
    save({"a.weight": np.ones((2, 3), "f4")}, tmp_path / "1.safetensors")
    save({"a.bias": np.zeros(2, "f4"), "b.bias": np.ones(2)}, tmp_path / "2.safetensors")
    path = tmp_path / "model.safetensors.index.json"
    where = {"a.weight": "1.safetensors", "a.bias": "2.safetensors"}
    path.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    assert sorted(arrays_of(read_foreign(path))) == ["a.bias", "a.weight"]
    path.write_text(json.dumps({"weight_map": where | {"c.bias": "2.safetensors"}}))
    assert message(path) == "its shards must hold all arrays of weight_map. Got c.bias."
    path.write_text(json.dumps({"weight_map": {"a": "../1.safetensors"}}))
    assert message(path).startswith("shards must lie beside it. Got ")
    path.write_text(json.dumps({"weight_map": {"a": "1\0.safetensors"}}))
    assert message(path).startswith("shards must lie beside it. Got ")
    path.write_text("[]")
    assert message(path).startswith("must say in weight_map which array is where. Got ")


def test_shards_of_a_cache_of_links(tmp_path: Path) -> None:
    """Hugging Face stores files under their digests, and links to them by name."""
    save = pytest.importorskip("safetensors.numpy").save_file
    blobs, snapshot = tmp_path / "model/blobs", tmp_path / "model/snapshots/abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    save({"a.weight": np.ones((2, 3), "f4")}, blobs / "11")
    save({"a.bias": np.zeros(2, "f4")}, blobs / "22")
    where = {"a.weight": "1.safetensors", "a.bias": "2.safetensors"}
    (blobs / "33").write_text(json.dumps({"weight_map": where}))
    names = {"11": "1.safetensors", "22": "2.safetensors", "33": "model.safetensors.index.json"}
    for blob, name in names.items():
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    path = snapshot / "model.safetensors.index.json"
    assert sorted(arrays_of(read_foreign(path))) == ["a.bias", "a.weight"]
    assert sorted(arrays_of(read_foreign(snapshot / "1.safetensors"))) == ["a.weight"]

    # A link from the cache to elsewhere.
    save({"a.bias": np.zeros(2, "f4")}, tmp_path / "private.safetensors")
    (snapshot / "2.safetensors").unlink()
    (snapshot / "2.safetensors").symlink_to("../../../private.safetensors")
    assert message(path) == f"shards must lie beside it. Got {snapshot}/2.safetensors."


def test_shards_that_are_links(tmp_path: Path) -> None:
    """As in an archive: the file itself is not a link, and the shards' links may lead anywhere."""
    save = pytest.importorskip("safetensors.numpy").save_file
    save({"a.weight": np.ones((2, 3), "f4")}, tmp_path / "private.safetensors")
    folder = tmp_path / "unpacked"
    folder.mkdir()
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a.weight": "1.safetensors"}}))
    link = folder / "1.safetensors"
    expected = f"shards must lie beside it. Got {link}."
    for target in ("../private.safetensors", tmp_path / "private.safetensors", "..", "/dev/zero"):
        link.symlink_to(target)
        assert message(path) == expected
        link.unlink()
    folder.joinpath("other").symlink_to("..")
    link.symlink_to("other/private.safetensors")
    assert message(path) == expected
    link.unlink()
    link.symlink_to("1.safetensors")  # to itself
    with pytest.raises(DataError) as caught:
        read_foreign(path)
    assert caught.value.place == str(link)
    link.unlink()
    save({"a.weight": np.ones((2, 3), "f4")}, folder / "real")
    link.symlink_to("real")  # beside it
    assert list(arrays_of(read_foreign(path))) == ["a.weight"]


def test_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto

    def write(tensor: Any) -> Path:
        node = helper.make_node("Gemm", ["x", tensor.name], ["y"], name="fc", transB=1)
        values = [helper.make_tensor_value_info(name, kinds.FLOAT, [1, 3]) for name in "xy"]
        graph = helper.make_graph([node], "g", values[:1], values[1:], [tensor])
        path = tmp_path / "a.onnx"
        path.write_bytes(helper.make_model(graph).SerializeToString())
        return path

    def outside(location: str, length: int) -> Any:
        tensor = kinds(name="w", data_type=kinds.FLOAT, dims=[length, 3])
        tensor.data_location = kinds.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        return tensor

    values = np.arange(6, dtype="<f4").reshape(2, 3)
    bits = (values.view("<u4") >> 16).astype("<u2")
    tensor = kinds(name="w", data_type=kinds.BFLOAT16, dims=[2, 3], raw_data=bits.tobytes())
    found = arrays_of(read_foreign(write(tensor)))
    assert found["fc.weight"].dtype == np.float32
    np.testing.assert_array_equal(found["fc.weight"], values)
    tensor = kinds(name="w", data_type=kinds.FLOAT8E4M3FN, dims=[2, 3], raw_data=bytes(6))
    rule = "has numbers of an unsupported type"
    assert message(write(tensor)) == f"{rule}. Got FLOAT8E4M3FN in w."

    (tmp_path / "a.data").write_bytes(values.tobytes())
    found = arrays_of(read_foreign(write(outside("a.data", 2))))
    np.testing.assert_array_equal(found["fc.weight"], values)
    path = write(outside("../a.data", 2))
    assert message(path).startswith("shards must lie beside it. Got ")
    path = write(outside("a.data", 10**9))
    assert message(path) == too_much(path, "24.0 GB")


def pth(path: Path, content: bytes, **storages: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", content)
        for key, values in storages.items():
            archive.writestr(f"x/data/{key}", values)
    return path


STORAGE = b"(U\x07storagectorch\nFloatStorage\nU\x01aU\x03cpuJ\x03\0\0\0tQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(%bK\x00K\x03\x85K\x01\x85\x89}%btR"


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (b"", [1.0, -2.0, 3.0]),
        (b"N", [1.0, -2.0, 3.0]),
        (b"}", [1.0, -2.0, 3.0]),
        (b"}U\x03neg\x89s", [1.0, -2.0, 3.0]),
        (b"}U\x03neg\x88s", [-1.0, 2.0, -3.0]),
        (b"}U\x04conj\x88s", "a tensor with conj"),
        (b"}U\x03neg\x88sU\x07anotherK\x01s", "a tensor with neg, another"),
    ],
)
def test_bits_of_tensors(tmp_path: Path, bits: bytes, expected: Any) -> None:
    content = b"\x80\x02}U\x08a.weight" + TENSOR % (STORAGE, bits) + b"s."
    path = pth(tmp_path / "a.pth", content, a=np.array([1, -2, 3], "<f4").tobytes())
    if isinstance(expected, str):
        assert message(path) == f"must be a sound file of torch.save. Got {expected}."
    else:
        np.testing.assert_array_equal(arrays_of(read_foreign(path))["a.weight"], expected)


def test_a_pickle_cannot_change_a_storage(tmp_path: Path) -> None:
    """BUILD sets attributes; a storage with a larger declared size would be read beyond its end."""
    state = b"N}U\x05numelK\x01s\x86b"  # (None, {"numel": 1})
    content = b"\x80\x02}U\x08a.weight" + TENSOR % (STORAGE + state, b"") + b"s."
    path = pth(tmp_path / "a.pth", content, a=bytes(4))
    assert message(path).startswith("must be a sound file of torch.save. Got ")


def test_pickles_that_ask_for_memory(tmp_path: Path) -> None:
    rule = "must be a sound file of torch.save. Got "
    memo = b"\x80\x02}r" + struct.pack("<I", 2**28) + b"."  # LONG_BINPUT
    path = pth(tmp_path / "a.pth", memo)
    assert message(path) == f"{rule}no mapping of names to tensors, but nothing."
    text = b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"abc."  # BINUNICODE8
    path = pth(tmp_path / "b.pth", text)
    assert message(path) == f"{rule}its list of names is too long."
    legacy = tmp_path / "c.pth"
    legacy.write_bytes(text)
    assert message(legacy) == f"{rule}its list of names is too long."
    # A list of 1,100 numbers, copied a thousand times.
    many = b"\x80\x02(" + b"K\x01" * 1100 + b"lq\x00" + b"0ctorch\nSize\nq\x010"
    path = pth(tmp_path / "d.pth", many + b"h\x01h\x00\x85R" * 1000 + b".")
    assert message(path) == f"{rule}its list of names is too long."


def test_many_tensors_of_one_storage_share_it(tmp_path: Path) -> None:
    numbers = np.ones(1_000_000, "<f4")
    storage = STORAGE.replace(struct.pack("<i", 3), struct.pack("<i", len(numbers)))
    tensor = TENSOR.replace(b"K\x03\x85", b"J" + struct.pack("<i", len(numbers)) + b"\x85")
    content = b"\x80\x02}" + b"".join(
        b"U\x08a.%06d" % i + tensor % (storage, b"") + b"s" for i in range(1000)
    )
    path = pth(tmp_path / "a.pth", content + b".", a=numbers.tobytes())
    tracemalloc.start()
    found = arrays_of(read_foreign(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 1000
    assert peak < MOST_TRACED


def test_older_files_cut_short_take_nothing(tmp_path: Path) -> None:
    from cnn_cli.interop.readers.torch_file import LEGACY_MAGIC, LEGACY_PROTOCOL

    start = [LEGACY_MAGIC, LEGACY_PROTOCOL, {"little_endian": True}]
    content = b"".join(pickle.dumps(each, 2) for each in start)
    storage = STORAGE.replace(struct.pack("<i", 3), struct.pack("<i", 2**30))
    content += b"\x80\x02}U\x08a.weight" + TENSOR % (storage, b"") + b"s."
    path = tmp_path / "a.pth"
    path.write_bytes(content + pickle.dumps(["a"], 2) + struct.pack("<Q", 2**30) + bytes(12))
    assert message(path) == "must be a sound file of torch.save. Got cut short."
