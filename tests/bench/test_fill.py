"""A filled cluster is what it would be had each of its sessions been bound."""

from pathlib import Path

import pytest

from globaltable.bench.fill import BATCH_OPS, fill, filled_key, filled_unit
from globaltable.bench.scenarios.growth import NotAsFilled, check_filled
from globaltable.client import SyncGlobalTable
from globaltable.errors import ConfigError
from globaltable.history import HISTORY_OPS_MAX
from globaltable.store.lmdb_log import LmdbLogStore
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.store.verification import verify
from globaltable.testing import LocalCluster

GROUPS = 2
SESSIONS = 2 * HISTORY_OPS_MAX + 9_000
TABLE = "im.session"


def _everything(directory: Path) -> list[object]:
    table = LmdbTableStore(directory / "table")
    log = LmdbLogStore(directory / "log")
    try:
        return [
            (
                table.image(group),
                list(table.rows(group).scan(b"", b"\xff" * 300)),
                log.load(group),
            )
            for group in range(GROUPS)
        ]
    finally:
        log.close()
        table.close()


def test_rows_written_directly_are_those_that_a_table_would_have_made(tmp_path: Path) -> None:
    config = LocalCluster(groups=GROUPS, directory=tmp_path / "direct").config
    fill(config, SESSIONS)
    applied = LocalCluster(groups=GROUPS, directory=tmp_path / "applied").config
    fill(applied, SESSIONS, tail_ops=SESSIONS)
    direct = _everything(config.nodes[0].data_dir)
    assert direct == _everything(applied.nodes[0].data_dir)
    for region in config.nodes[1:]:
        assert _everything(region.data_dir) == direct, region.name
        report = verify(region.data_dir, GROUPS)
        assert report.is_whole
        assert sum(finding.rows for finding in report.findings) == SESSIONS


def test_a_directory_that_holds_something_is_not_filled(tmp_path: Path) -> None:
    config = LocalCluster(directory=tmp_path).config
    fill(config, 10)
    with pytest.raises(ConfigError, match="is not empty; fill a new cluster"):
        fill(config, 10)


@pytest.mark.cluster
@pytest.mark.long
def test_its_nodes_serve_what_was_filled_and_bind_none_of_it_again(tmp_path: Path) -> None:
    sessions = 3 * BATCH_OPS + 1
    cluster = LocalCluster(groups=GROUPS, tables=(TABLE,), directory=tmp_path)
    fill(cluster.config, sessions)
    with cluster:
        addresses = list(cluster.addresses.values())
        check_filled(addresses, sessions)
        with SyncGlobalTable.connect(addresses, table=TABLE, discover=False) as client:
            assert len(list(client.scan())) == sessions
            assert client.bind("fresh", "A").created
            last = client.get(filled_key(sessions - 1))
            assert last is not None and last.unit == filled_unit(sessions - 1)
        with pytest.raises(NotAsFilled, match=f"session {sessions} is None"):
            check_filled(addresses, sessions + 1)
