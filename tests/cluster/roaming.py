"""Sessions that move from unit to unit without end, and who watches them: what both were told must
fit together to the last version, whatever happens to the cluster meanwhile."""

import threading
import time
from collections import defaultdict

from globaltable.client import SyncGlobalTable
from globaltable.errors import DeadlineExceeded, Unavailable
from globaltable.model import Binding
from globaltable.testing import LocalCluster
from tests.cluster.sessions import connect


class Roamer:
    """Binds keys of its own, and moves each on, again and again, deciding from what it was told."""

    def __init__(self, cluster: LocalCluster, name: str, *nodes: str, keys: int = 40) -> None:
        self._client = connect(cluster, *nodes, timeout=15.0)
        self._keys = [f"{name}:{number}" for number in range(keys)]
        self.told: dict[str, dict[int, str]] = defaultdict(dict)
        """By key, the unit of each version that was acknowledged, or read."""
        self.versions: dict[str, int] = {}
        """By key, the last."""
        self.longest_s = 0.0
        self.failures = 0
        self.stopping = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.stopping = True
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            with self._client as client:
                while not self.stopping:
                    for key in self._keys:
                        self._change(client, key)
                        time.sleep(0.002)
        except BaseException as error:
            self.error = error

    def _change(self, client: SyncGlobalTable, key: str) -> None:
        began = time.monotonic()
        version = self.versions.get(key)
        try:
            if version is None:
                binding = client.bind(key, "u1")
            else:
                binding = client.move(key, to=f"u{version + 1}", version=version)
        except (Unavailable, DeadlineExceeded):
            # It may have happened: the cluster says.
            self.failures += 1
            found = self._read(client, key)
            if found is None:
                assert version is None, f"{key} is gone, which was at version {version}"
                return
            binding = found
            assert binding.version in (version, (version or 0) + 1), (key, version, binding)
        else:
            assert binding.version == (version or 0) + 1, (key, version, binding)
            self.longest_s = max(self.longest_s, time.monotonic() - began)
        assert binding.unit == f"u{binding.version}", (key, binding)
        self.told[key][binding.version] = binding.unit
        self.versions[key] = binding.version

    def _read(self, client: SyncGlobalTable, key: str) -> Binding | None:
        while True:
            try:
                return client.get(key, linearizable=True)
            except (Unavailable, DeadlineExceeded):
                time.sleep(0.05)


class Onlooker:
    """Watches the whole table from before the first change."""

    def __init__(self, cluster: LocalCluster, *nodes: str) -> None:
        self._client = connect(cluster, *nodes, timeout=15.0)
        self._watch = self._client.watch(prefix="")
        self._watch.__enter__()
        self.versions: dict[str, list[int]] = defaultdict(list)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            for change in self._watch:
                assert change.unit == f"u{change.version}", change
                self.versions[change.key].append(change.version)
        except BaseException as error:
            self.error = error

    def wait_for(self, versions: dict[str, int], timeout_s: float = 30.0) -> None:
        """Until it was told of all these; each change must have come once, and in order."""
        deadline = time.monotonic() + timeout_s
        while self._behind(versions) and self.error is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert self.error is None, self.error
        for key, version in versions.items():
            assert self.versions[key] == list(range(1, version + 1)), (key, self.versions[key])

    def _behind(self, versions: dict[str, int]) -> bool:
        return any(len(self.versions[key]) < version for key, version in versions.items())

    def close(self) -> None:
        self._watch.close()
        self._thread.join()
        self._client.close()


def require_kept(cluster: LocalCluster, roamers: list[Roamer]) -> None:
    """Every session is where it was said to be last, from every node."""
    for node in cluster.nodes:
        # Where nodes hold some of the groups only, each client finds the others.
        with connect(cluster, node, timeout=20.0, discover=True) as client:
            for roamer in roamers:
                found = client.get_many(roamer.versions, linearizable=True)
                for key, version in roamer.versions.items():
                    binding = found.get(key)
                    assert binding is not None, f"{key} is lost"
                    assert binding.version == version, (key, binding)
                    assert binding.unit == f"u{binding.version}", (key, binding)
            scanned = dict(client.scan())
            for roamer in roamers:
                assert roamer.versions.keys() <= scanned.keys()
