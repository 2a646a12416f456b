"""A decoder made careless is found out: so a run without findings says something."""

import importlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgpack
import pytest

from globaltable.errors import ProtocolError
from tests.fuzz import running
from tests.fuzz.running import run_shard

_SHARDS = 8


class Mutant(NamedTuple):
    """One check taken away, and the target that must notice."""

    module: str
    name: str
    careless: Any
    target: str
    noticed_by: str


def _unpack_without_counting(data: bytes) -> Any:
    """Declared lengths are believed, as far as the input is long."""
    try:
        return msgpack.unpackb(data, raw=False, max_map_len=0, max_ext_len=0)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise ProtocolError("no") from error


def _unpack_untyped(data: bytes) -> Any:
    return msgpack.unpackb(data, raw=False)


def _unseal(key: bytes, value: bytes, what: str) -> bytes:
    return value[4:]


MUTANTS = (
    Mutant("store.lmdb_log", "_unsealed", _unseal, "stored log entry", "AssertionError"),
    Mutant("store.lmdb_log", "_unsealed", _unseal, "stored term and vote", "AssertionError"),
    Mutant("store.lmdb_table", "_unseal", _unseal, "stored row", "AssertionError"),
    Mutant("store.lmdb_table", "_unseal", _unseal, "stored history", "AssertionError"),
    Mutant("wire.frames", "unpack", _unpack_untyped, "peer frame", ""),
    Mutant("wire.batches", "unpack", _unpack_untyped, "log batch", ""),
    Mutant("wire.frames", "shown", repr, "peer frame", "RecursionError"),
    Mutant("wire.rows", "is_name", lambda _: True, "history record", ""),
    Mutant("store.lmdb_table", "decode_row", lambda _: None, "snapshot chunk", ""),
    Mutant("store.lmdb_table", "is_name", lambda _: True, "snapshot chunk", ""),
    Mutant("server.handshake", "unpack", _unpack_untyped, "handshake", ""),
    Mutant("server.ops", "require_key", lambda _: None, "request Write", ""),
    Mutant("toml_section", "_require_modest", lambda *_: None, "configuration", "ValueError"),
    Mutant("client._lanes", "DecodeError", KeyError, "answer to Read", "DecodeError"),
    Mutant("client._watching", "DecodeError", KeyError, "message of Watch", "DecodeError"),
)


@pytest.fixture(autouse=True)
def reopened() -> Iterator[None]:
    """Targets are opened with the mutant in place, and not kept."""
    yield
    running.opened.cache_clear()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.module}.{m.name}-{m.target}")
def test_it_is_found_out(monkeypatch: pytest.MonkeyPatch, mutant: Mutant) -> None:
    running.opened.cache_clear()
    monkeypatch.setattr(running, "minimised", lambda data, _: data)
    module = importlib.import_module(f"globaltable.{mutant.module}")
    monkeypatch.setattr(module, mutant.name, mutant.careless)
    assert mutant.noticed_by in _first_finding(mutant.target)


def _first_finding(target: str) -> str:
    for shard in range(_SHARDS):
        tally = run_shard(target, 1, shard)
        if tally.findings:
            return tally.findings[0].what
    raise AssertionError(f"{target}: not noticed in {_SHARDS} shards")


def test_a_length_that_is_believed_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is allocated, of which some inputs are asked."""
    running.opened.cache_clear()
    monkeypatch.setattr("tests.fuzz.wire_targets.unpack", _unpack_without_counting)
    monkeypatch.setattr(running, "TRACED_ONE_IN", 1)
    monkeypatch.setattr(running, "minimised", lambda data, _: data)
    assert "allocation" in _first_finding("packing")
