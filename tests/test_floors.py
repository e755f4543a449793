"""The layers of the architecture ("floors"): imports point down only, and only the command line
prints.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "cnn_cli"

# From the top; modules of one floor do not import each other's packages.
FLOORS: list[set[str]] = [
    {"__main__"},
    {"cli"},
    {"report"},
    {"api", "proposal"},
    {"bench"},
    {"training"},
    {"interop"},
    {"inference"},
    {"runs"},
    {"config", "parallel"},
    {"optim"},
    {"data", "nn"},
    {"schema"},
    {
        "arithmetic",
        "closing",
        "docstrings",
        "errors",
        "files",
        "metric_names",
        "peer_names",
        "portable",
        "threads",
        "rng",
        "safe_csv",
        "strict_json",
        "structs",
        "system",
        "text_files",
        "__init__",
    },
]
# What the package itself exports, imported on first access.
FRONT_DOOR = ["api"]
# Imports that may close a circle: prediction uses constraints without pydantic, which asks them for
# their form.
ON_DEMAND = {("schema.constraints", "schema.fields")}
# What each part of nn may import from the package.
NN_PARTS = {
    "nn.kernels": ["nn.kernels", "nn.types", "arithmetic", "errors", "rng", "structs", "system"],
    "nn.layers": [
        "nn.layers",
        "nn.kernels",
        "nn.types",
        "nn.context",
        "schema",
        "arithmetic",
        "errors",
        "rng",
        "structs",
        "system",
    ],
    "nn.context": ["nn.kernels", "nn.types", "arithmetic", "structs"],
    "nn.types": [],
}
# Import names that differ from the name of the distribution.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "pi_heif": "pi-heif",
    "pydantic_core": "pydantic",
    "yaml": "pyyaml",
}
# Features that some systems lack, used only in `portable`: modules, and names of `os`.
SYSTEMS = {"fcntl", "msvcrt", "resource", "termios", "tty", "pty", "pwd", "grp", "winreg"}
CALLS = {
    "fork",
    "sysconf",
    "sched_yield",
    "sched_getaffinity",
    "posix_fallocate",
    "memfd_create",
    "fchmod",
    "fchown",
    "chown",
    "mkfifo",
    "getpgid",
    "killpg",
    "nice",
    "kill",
    "uname",
    "O_CLOEXEC",
    "O_NOFOLLOW",
    "O_TMPFILE",
}
THREADS = {"threading", "_thread", "concurrent", "multiprocessing", "threadpoolctl"}
PRINTERS = {"input", "breakpoint", "exit", "quit"}
EXITS = {("sys", "exit"), ("os", "_exit"), ("os", "abort")}
STREAMS = {("sys", "stdout"), ("sys", "stderr"), ("sys", "stdin")}


def files() -> list[Path]:
    return sorted((ROOT / PACKAGE).rglob("*.py"))


def module_of(path: Path) -> str:
    """Return `nn.layers.conv` for cnn_cli/nn/layers/conv.py; a package is its own name."""
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield full names of all imported modules, including those in functions, with the lines."""
    for statement in ast.walk(node):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield alias.name, statement.lineno
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"line {statement.lineno}: imports name their module"
            assert statement.module is not None
            for alias in statement.names:
                # `from cnn_cli import data` imports cnn_cli.data.
                yield f"{statement.module}.{alias.name}", statement.lineno


def own_imports(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield names below the package, such as `nn.layers.conv.Conv`."""
    for name, line in imports(node):
        if name.startswith(f"{PACKAGE}."):
            yield name.removeprefix(f"{PACKAGE}."), line


def floor_of(module: str) -> int:
    top = module.split(".", maxsplit=1)[0]
    for number, floor in enumerate(FLOORS):
        if top in floor:
            return number
    # Names in cnn_cli/__init__.py, such as the version.
    assert not (ROOT / PACKAGE / top).exists(), f"{top} belongs to no floor"
    assert not (ROOT / PACKAGE / f"{top}.py").exists(), f"{top} belongs to no floor"
    return floor_of("__init__")


def within(name: str, parts: list[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def upward(module: str, node: ast.AST) -> list[str]:
    """Return a module's imports that do not point down."""
    here = floor_of(module)
    return [
        f"{module} line {line}: {name}"
        for name, line in own_imports(node)
        if not (
            (module == "__init__" and within(name, FRONT_DOOR))
            or floor_of(name) > here
            or name.split(".")[0] == module.split(".", maxsplit=1)[0]
            or here == len(FLOORS) - 1 == floor_of(name)
        )
    ]


def own_modules(module: str, node: ast.AST, known: set[str]) -> set[str]:
    """Return the other modules of the package that a module imports, anywhere in it."""
    found = set()
    for name, _ in own_imports(node):
        parts = name.split(".")
        prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
        found.add(next((each for each in prefixes if each in known), module))
    allowed = {inner for outer, inner in ON_DEMAND if outer == module}
    return found - {module} - allowed


def circle(imported: Mapping[str, set[str]]) -> list[str]:
    """Return modules of which each imports the one before, first and last the same; if any."""
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def foreign(module: str, node: ast.AST, part: str) -> list[str]:
    """Return imports that a part of nn may not have."""
    return [
        f"{module} line {line}: {name}"
        for name, line in own_imports(node)
        if not within(name, NN_PARTS[part])
    ]


def loud(module: str, node: ast.AST) -> list[str]:
    """Return where a module prints, reads from the terminal or ends the process."""
    found = []
    for inner in ast.walk(node):
        match inner:
            case ast.Name(id="print" | "SystemExit" as name):
                found.append(f"{module} line {inner.lineno}: {name}")
            case ast.Call(func=ast.Name(id=name)) if name in PRINTERS:
                found.append(f"{module} line {inner.lineno}: {name}")
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                if (owner, name) in EXITS | STREAMS:
                    found.append(f"{module} line {inner.lineno}: {owner}.{name}")
            case ast.ImportFrom(module="sys" | "os" as owner, names=aliases):
                found += [
                    f"{module} line {inner.lineno}: {owner}.{alias.name}"
                    for alias in aliases
                    if (owner, alias.name) in EXITS | STREAMS
                ]
    return found


def particular(module: str, node: ast.AST) -> list[str]:
    """Return where a module uses features that some operating systems lack."""
    found = [
        f"{module} line {line}: {name}" for name, line in imports(node) if top(name) in SYSTEMS
    ]
    for inner in ast.walk(node):
        match inner:
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in CALLS:
                found.append(f"{module} line {inner.lineno}: os.{name}")
            case ast.ImportFrom(module="os", names=aliases):
                names = [alias.name for alias in aliases if alias.name in CALLS]
                found += [f"{module} line {inner.lineno}: os.{name}" for name in names]
    return found


def top(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def undeclared(module: str, node: ast.AST, declared: set[str]) -> list[str]:
    """Return imports of packages that are not declared as dependencies."""
    found = []
    for name, line in imports(node):
        top = name.split(".")[0]
        known = top == PACKAGE or top in sys.stdlib_module_names
        if not known and DISTRIBUTIONS.get(top, top) not in declared:
            found.append(f"{module} line {line}: {top}")
    return found


def required() -> set[str]:
    """Return the distributions of every installation."""
    return {_name(line) for line in _project()["dependencies"]}


def extras() -> set[str]:
    """Return the optional distributions, without development tools."""
    groups = _project().get("optional-dependencies", {})
    return {_name(line) for extra, lines in groups.items() if extra != "dev" for line in lines}


def _project() -> dict[str, Any]:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert isinstance(found, dict)
    return found


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9_-]+", requirement)
    assert found is not None
    return found[0]


def test_the_package_is_found() -> None:
    assert {"errors", "nn.layers.base", "nn.kernels", "config"} <= {module_of(p) for p in files()}


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_imports_point_down(path: Path) -> None:
    assert upward(module_of(path), tree(path)) == []


def test_no_modules_import_each_other() -> None:
    modules = {module_of(path): tree(path) for path in files()}
    del modules["__init__"]  # the front door
    known = set(modules)
    assert circle({name: own_modules(name, node, known) for name, node in modules.items()}) == []


def test_a_circle_is_noticed() -> None:
    lazy = ast.parse("def f():\n    from cnn_cli.nn.graph import Graph")
    imported = {"nn.plan": own_modules("nn.plan", lazy, {"nn", "nn.plan", "nn.graph"})}
    assert imported == {"nn.plan": {"nn.graph"}}
    assert circle(imported) == []
    assert circle(imported | {"nn.graph": {"nn.plan"}}) in (
        ["nn.plan", "nn.graph", "nn.plan"],
        ["nn.graph", "nn.plan", "nn.graph"],
    )


@pytest.mark.parametrize("part", NN_PARTS)
def test_parts_of_nn_know_what_is_below_them_only(part: str) -> None:
    paths = [path for path in files() if within(module_of(path), [part])]
    assert paths
    assert [line for path in paths for line in foreign(module_of(path), tree(path), part)] == []


def test_layers_and_kernels_know_nothing_of_threads() -> None:
    for path in files():
        if within(module_of(path), ["nn.kernels", "nn.layers"]):
            assert THREADS.isdisjoint(name.split(".")[0] for name, _ in imports(tree(path))), path


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_only_the_command_line_prints_and_exits(path: Path) -> None:
    if floor_of(module_of(path)) > floor_of("cli"):
        assert loud(module_of(path), tree(path)) == []


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_one_module_asks_for_what_some_systems_lack(path: Path) -> None:
    if module_of(path) != "portable":
        assert particular(module_of(path), tree(path)) == []


@pytest.mark.parametrize(
    "line",
    ["import fcntl", "from resource import getrlimit", "os.sched_yield()", "from os import fork"],
)
def test_what_some_systems_lack_is_noticed(line: str) -> None:
    assert len(particular("nn.plan", ast.parse(line))) == 1


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_nothing_is_imported_that_is_not_installed(path: Path) -> None:
    assert {"numpy", "pillow", "pyyaml"} <= required()
    assert undeclared(module_of(path), tree(path), required() | extras()) == []


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_extras_are_imported_only_where_they_are_used(path: Path) -> None:
    """Not with the module, because the program must start without them."""
    top_level = ast.Module(
        [node for node in tree(path).body if isinstance(node, ast.Import | ast.ImportFrom)], []
    )
    assert undeclared(module_of(path), top_level, required()) == []


def test_torch_is_a_reference_and_never_used() -> None:
    assert "torch" not in required() | extras()
    for path in files():
        tops = {name.split(".")[0] for name, _ in imports(tree(path))}
        assert tops.isdisjoint({"torch", "torchvision", "tensorflow", "jax"}), path


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("nn.plan", "from cnn_cli.training import trainer"),
        ("nn.plan", "from cnn_cli import data"),
        ("nn.plan", "import cnn_cli.data.loader"),
        ("data.loader", "def f():\n    from cnn_cli.nn.types import Array"),
        ("schema.fields", "from cnn_cli.nn.types import Array"),
        ("errors", "from cnn_cli.config import Config"),
        ("training.run", "from cnn_cli.cli.shared.output import say"),
    ],
)
def test_an_import_that_points_up_is_noticed(module: str, line: str) -> None:
    assert len(upward(module, ast.parse(line))) == 1


def test_imports_that_point_down_are_fine() -> None:
    source = "from cnn_cli import __version__\nfrom cnn_cli.errors import CnnError\nimport os"
    for module in ("cli.main", "nn.plan", "data.loader", "config.load", "files"):
        assert upward(module, ast.parse(source)) == []


@pytest.mark.parametrize(
    "line",
    [
        "print('x')",
        "import sys\nsys.exit(1)",
        "from sys import exit",
        "raise SystemExit",
        "exit(1)",
        "os._exit(1)",
        "sys.stderr.write('x')",
        "show = print",
    ],
)
def test_a_loud_line_is_noticed(line: str) -> None:
    assert len(loud("nn.plan", ast.parse(line))) == 1


def test_an_undeclared_package_is_noticed() -> None:
    source = ast.parse("import numpy\nfrom PIL import Image\nimport scipy.ndimage\nimport json")
    assert undeclared("nn.plan", source, {"numpy", "pillow"}) == ["nn.plan line 3: scipy"]


def test_a_kernel_that_knows_a_layer_is_noticed() -> None:
    source = ast.parse("from cnn_cli.nn.types import Array\nfrom cnn_cli.nn.layers import base")
    assert foreign("nn.kernels.conv", source, "nn.kernels") == [
        "nn.kernels.conv line 2: nn.layers.base"
    ]


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_nothing_depends_on_assert(path: Path) -> None:
    """`python -O` removes it, so conditions must be checked and raised explicitly."""
    asserts = [node.lineno for node in ast.walk(tree(path)) if isinstance(node, ast.Assert)]
    assert asserts == []
