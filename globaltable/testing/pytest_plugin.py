"""The pytest fixture `globaltable_cluster`, which every test has where GlobalTable is installed.

One cluster serves the whole run, for it takes a second to start; after each test it is mended:
links healed, nodes resumed and started, groups led. What tests have bound stays: take keys of your
own (`uuid.uuid4()`), or a `LocalCluster`.

Settings, in pytest's own file: `globaltable_tables`, one a line, by default `im.session`, and
`globaltable_regions`, by default a, b and c.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from globaltable.testing.cluster import LocalCluster


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "globaltable_tables",
        "tables of the cluster of the fixture globaltable_cluster",
        type="linelist",
        default=["im.session"],
    )
    parser.addini(
        "globaltable_regions",
        "regions of the cluster of the fixture globaltable_cluster, a node in each",
        type="linelist",
        default=["a", "b", "c"],
    )


@pytest.fixture(scope="session")
def _globaltable_cluster(pytestconfig: pytest.Config) -> "Iterator[LocalCluster]":
    # Only now: without the server's dependencies it cannot be imported, and most tests need none.
    from globaltable.testing.cluster import LocalCluster

    regions = pytestconfig.getini("globaltable_regions")
    tables = pytestconfig.getini("globaltable_tables")
    with LocalCluster(regions, tables=tables, link_faults=True) as cluster:
        yield cluster


@pytest.fixture
def globaltable_cluster(_globaltable_cluster: "LocalCluster") -> "Iterator[LocalCluster]":
    """A cluster of region nodes on this machine, whole at the beginning of each test."""
    yield _globaltable_cluster
    _globaltable_cluster.mend()
