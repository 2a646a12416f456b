"""Imports point one way: down. The core asks no clock, socket, thread or luck of its own.

What only a type checker imports (`if TYPE_CHECKING:`) is not counted.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import globaltable

ROOT: Final = Path(globaltable.__file__).parent

LAYERS: Final = (
    ("deal", "limits", "model", "pace"),
    ("errors",),
    ("holdings", "levels", "members", "slot_deal", "slot_ranges", "validation"),
    ("geo",),
    ("toml_file", "toml_section", "topology", "wire", "wire.packing"),
    (
        "layered_rows",
        "rebalance",
        "row_keys",
        "wire.holdings",
        "wire.members",
        "wire.rows",
        "wire.topologies",
    ),
    ("op_effects", "slot_steps"),
    ("slot_rows", "wire.slot_steps"),
    ("wire.batches",),
    ("history", "topology_change"),
    ("slot_change", "table_state"),
    ("table",),
    ("slot_history",),
    ("slot_moves",),
    ("backup", "backup.records"),
    ("backup.contents",),
    ("backup.reading", "backup.writing"),
    ("store", "store.durable_file", "store.log", "store.table"),
    (
        "store.identity",
        "store.known_directories",
        "store.known_topology",
        "store.lmdb_log",
        "store.lmdb_table",
    ),
    ("store.frozen", "store.replacement", "store.verification"),
    ("lateness",),
    ("proposals",),
    ("raft", "raft.journal", "raft.messages", "raft.progress", "raft.quorum", "raft.transfer"),
    ("raft.commit_latency", "raft.dialect", "raft.membership", "raft.reconcile"),
    ("placement", "raft.adaptor"),
    ("raft.elections", "raft.recovery", "raft.snapshots"),
    ("raft.follower", "raft.replication"),
    ("raft.guard",),
    ("convergence", "freezing", "own_barrier", "replica_limits", "under_way"),
    ("leadership",),
    # It encodes the messages of `raft`, so among the encodings it alone stands above `raft`.
    ("group", "wire.frames"),
)
"""From the bottom up. A module imports only from layers below its own."""

LAYER_OF: Final = {name: layer for layer, names in enumerate(LAYERS) for name in names}
ABOVE_THE_CORE: Final = (
    "server",
    "client",
    "admin",
    "bench",
    "cli",
    "demo",
    "routing",
    "testing",
    "v1",
    "__main__",
)

BESIDE_THE_CORE: Final = frozenset(
    [
        "asyncio",
        "concurrent",
        "datetime",
        "grpc",
        "logging",
        "multiprocessing",
        "queue",
        "sched",
        "secrets",
        "select",
        "selectors",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "threading",
        "time",
        "uuid",
        "uvloop",
    ]
)
"""Time, threads, the network and luck come to the core as arguments."""

ONLY_IN: Final = {
    "msgpack": {"wire.packing"},
    "pysyncobj": {"raft.adaptor"},
    "lmdb": {"store.lmdb_log", "store.lmdb_table"},
    "pathlib": {
        "store.durable_file",
        "store.identity",
        "store.known_directories",
        "store.known_topology",
        "store.lmdb_log",
        "store.lmdb_table",
        "store.replacement",
        "store.verification",
        "toml_file",
    },
    "os": {
        "store.durable_file",
        "store.identity",
        "store.replacement",
    },
    "fcntl": {"store.identity"},
    "pickle": set(),
}
"""What has one place in the core; `store`'s protocols are what the rest knows of a disk."""

MAY_IMPORT: Final = {
    "client": {"client", "v1", "errors", "limits", "model", "topology", "validation"},
    "server": {"server", "v1", *(name.partition(".")[0] for name in LAYER_OF)},
    "routing": {
        "routing",
        "client",
        "errors",
        "limits",
        "model",
        "toml_file",
        "toml_section",
        "v1",
        "validation",
    },
    "v1": {"v1"},
}
"""First names under `globaltable` that a package above the core may use."""


def _modules(package: str = "") -> Iterator[tuple[str, ast.Module]]:
    """The names below `globaltable`, and the syntax trees, of a package's modules, or of all."""
    top = ROOT / package
    # `rglob` does not follow the links to server/, client/ and bench/; `resolve` does.
    for path in sorted(top.resolve().rglob("*.py")):
        parts = path.relative_to(top.resolve()).with_suffix("").parts
        name = ".".join(part for part in (package, *parts) if part and part != "__init__")
        yield name, ast.parse(path.read_text())


CORE: Final = {
    name: tree for name, tree in _modules() if name and name.partition(".")[0] not in ABOVE_THE_CORE
}


def _exists(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def _imports(node: ast.AST) -> Iterator[str]:
    """What is imported below a node: `.name` for `globaltable.name`, else the module's own name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name.removeprefix("globaltable") for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0 and child.module, "imports are absolute"
            for alias in child.names:
                inner = f"{child.module}.{alias.name}".removeprefix("globaltable")
                module = child.module.removeprefix("globaltable")
                yield inner if inner[0] == "." and _exists(inner[1:]) else module
        else:
            yield from _imports(child)


def test_every_module_of_the_core_has_its_layer() -> None:
    assert set(CORE) == set(LAYER_OF)


@pytest.mark.parametrize("name", LAYER_OF)
def test_imports_point_down(name: str) -> None:
    """A module knows only what is below it; so `table` can be read without `raft`."""
    for imported in _imports(CORE[name]):
        if imported.startswith("."):
            assert imported[1:] in LAYER_OF, f"{name} imports {imported}, which is not the core's"
            assert LAYER_OF[imported[1:]] < LAYER_OF[name], f"{name} imports {imported}, not below"


@pytest.mark.parametrize("name", LAYER_OF)
def test_the_core_is_handed_time_luck_messages_and_disk(name: str) -> None:
    """So that the same code runs under the node and under the simulator."""
    for imported in _imports(CORE[name]):
        first = imported.partition(".")[0]
        assert first not in BESIDE_THE_CORE, f"{name} imports {imported}"
        assert name in ONLY_IN.get(first, {name}), f"{name} imports {imported}"


@pytest.mark.parametrize("name", LAYER_OF)
def test_the_core_draws_from_no_random_numbers_but_those_it_is_given(name: str) -> None:
    used = {
        node.attr
        for node in ast.walk(CORE[name])
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "random"
    }
    assert used <= {"Random"}, name
    assert "from random" not in ast.unparse(CORE[name])


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_above_the_core_knows_only_what_it_should(package: str) -> None:
    """The client knows values, errors and the API; the server nothing of who asks it."""
    modules = dict(_modules(package))
    assert len(modules) > 1, "the package was not found"
    for name, tree in modules.items():
        for imported in _imports(tree):
            if imported.startswith("."):
                known = imported.split(".")[1]
                assert known in MAY_IMPORT[package], f"{name} imports {imported}"


def test_the_core_of_routing_is_handed_time_luck_and_messages() -> None:
    """What asks anybody lies in `routing.client`, `routing.service` and `routing.integrations`."""
    for name, tree in _modules("routing"):
        if name.split(".")[1:2] not in (["client"], ["service"], ["integrations"]):
            for imported in _imports(tree):
                known = imported.partition(".")[0] or imported
                assert known not in BESIDE_THE_CORE, f"{name} imports {imported}"
                assert not imported.startswith(".client"), f"{name} imports {imported}"


@pytest.mark.parametrize("module", ["client", "errors", "model", "validation"])
def test_a_client_loads_nothing_that_only_a_server_has_installed(module: str) -> None:
    """grpcio and protobuf are the client's only dependencies."""
    script = f"import sys, globaltable.{module}; print(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    loaded = set(run.stdout.split())
    unwanted = {"pysyncobj", "lmdb", "msgpack", "uvloop", "structlog", "typer", "rich", "hdrh"}
    assert not unwanted & loaded
    inner = {name.split(".")[1] for name in loaded if name.startswith("globaltable.")}
    assert inner <= MAY_IMPORT["client"]
