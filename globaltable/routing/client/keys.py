"""The header keys of an audience, watched in `routing.meta`, and rotated there.

Responsible for keeping a `Keyring` that is as new as GlobalTable lets it be, for telling those who
use it, and for carrying out `key_rotation`. It goes on with the last ring it knows for as long as
GlobalTable cannot be reached, and begins with one from a file.

Invariants: what was learned of a record is never replaced by an older version of it; a ring is
handed out only when it differs from the one before; a record that does not decode is left out and
logged, and the others count.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from globaltable.client import ClientClosed, GlobalTable
from globaltable.errors import (
    Corrupt,
    GlobalTableError,
    InvalidArgument,
    NotBound,
    StorageError,
)
from globaltable.routing.client import kept_file
from globaltable.routing.key_rotation import Publish, Remove, Schedule, new_record, plan
from globaltable.routing.keyring import (
    KEYS_MAX,
    KeyRecord,
    Keyring,
    decode_record,
    encode_record,
    key_id_of_name,
    record_name,
    record_prefix,
)
from globaltable.routing.signatures import Algorithm, RootSecret
from globaltable.routing.stored_keys import FILE_BYTES_MAX, decode_keys, encode_keys

META_TABLE: Final = "routing.meta"
_AHEAD: Final = 4
"""So many numbers beyond the last known key are asked for as well."""
_PAUSE_MIN_S: Final = 0.2
_PAUSE_MAX_S: Final = 10.0
_log: Final = logging.getLogger(__name__)

Listener = Callable[[Keyring], None]


class Rotation(NamedTuple):
    """That this process makes new keys: of what kind, and how often."""

    algorithm: Algorithm
    schedule: Schedule = Schedule()


class Records:
    """What is known of the records of one audience: the latest version of each. No I/O."""

    def __init__(self, audience: str) -> None:
        self._audience = audience
        self._versions: dict[str, int] = {}
        self._records: dict[str, KeyRecord] = {}
        self.last_id = 0
        """The highest number ever seen: what is gone, or cannot be read here, is not used again."""

    def learn(self, name: str, version: int, unit: str | None) -> bool:
        """Take in a version of a record, None for unbound; whether the ring changes by it."""
        if version <= self._versions.get(name, 0):
            return False
        self._versions[name] = version
        self.last_id = max(self.last_id, key_id_of_name(self._audience, name))
        record = None
        if unit is not None:
            try:
                record = decode_record(self._audience, name, unit)
            except Corrupt as error:
                _log.error("a header key is left out: %s", error)
        before = self._records.pop(name, None)
        if record is not None:
            self._records[name] = record
        return record != before

    def versions_of(self, names: Iterable[str]) -> dict[str, int]:
        """The latest versions known of these records; 0 of those never heard of."""
        return {name: self._versions.get(name, 0) for name in names}

    def missing(self, asked: Mapping[str, int]) -> bool:
        """Take in that records were not there when they were asked for; whether the ring changes.

        `asked` are their versions as known when the question was put: of which more has been
        learned since, the answer is old.
        """
        gone = {name for name, version in asked.items() if self._versions.get(name, 0) == version}
        before = len(self._records)
        self._records = {name: one for name, one in self._records.items() if name not in gone}
        return len(self._records) < before

    def assume(self, records: Iterable[KeyRecord]) -> None:
        """Begin with records of which no version is known: whatever is learned replaces them."""
        for record in records:
            self._records.setdefault(record_name(self._audience, record.key_id), record)
            self.last_id = max(self.last_id, record.key_id)

    @property
    def by_id(self) -> dict[int, KeyRecord]:
        return {record.key_id: record for record in self._records.values()}


class HeaderKeys:
    """A keyring that follows GlobalTable. `async with` opens and closes it.

    ::

        async with HeaderKeys(meta, "im/chat", roots=roots.load(path)) as keys:
            signer = HeaderSigner(keys.ring)
            keys.follow(signer.adopt)
    """

    def __init__(
        self,
        meta: GlobalTable,
        audience: str,
        *,
        roots: Iterable[RootSecret] = (),
        rotation: Rotation | None = None,
        kept_in: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`meta` is an open client of `META_TABLE`. With `rotation`, new keys are made here, from
        the first of `roots`. `kept_in` is a file for the ring to begin with at the next start."""
        self._roots: Final = tuple(roots)
        if rotation is not None and not self._roots:
            raise InvalidArgument(
                f"header keys of {audience!r} are to be rotated without a root secret; give what"
                " `globaltable keys new-root` makes"
            )
        self._meta: Final = meta
        self._audience: Final = audience
        self._rotation: Final = rotation
        self._kept_in: Final = kept_in
        self._clock: Final = clock
        self._records: Final = Records(audience)
        self._ring = Keyring(audience)
        self._listeners: list[Listener] = []
        self._has_read: Final = asyncio.Event()
        self._has_changed: Final = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ring(self) -> Keyring:
        """The latest ring; empty until something is known."""
        return self._ring

    def follow(self, listener: Listener) -> None:
        """Call `listener` now, and with every ring that comes."""
        self._listeners.append(listener)
        listener(self._ring)

    async def __aenter__(self) -> Self:
        if self._kept_in is not None:
            await self._begin_from(self._kept_in)
        self._tasks.append(asyncio.create_task(self._follow(), name="header keys"))
        if self._rotation is not None:
            self._tasks.append(
                asyncio.create_task(self._rotate_forever(self._rotation), name="key rotation")
            )
        for task in self._tasks:
            task.add_done_callback(_log_end)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def wait_read(self) -> None:
        """Wait until the records have been read from GlobalTable once."""
        await self._has_read.wait()

    # --- changing --------------------------------------------------------------------------------

    async def rotate(self, rotation: Rotation) -> None:
        """Publish the next key, and remove old ones, if it is time. Raises what the client does."""
        await self.wait_read()
        records = self._records
        steps = plan(
            records.by_id, rotation.algorithm, rotation.schedule, self._clock(), records.last_id
        )
        for step in steps:
            match step:
                case Publish():
                    await self._publish(step, rotation.algorithm)
                case Remove(key_id):
                    await self.revoke(key_id)

    async def revoke(self, key_id: int) -> None:
        """Remove a key: what it signed counts no more, wherever this is known. Who rotates makes a
        new one at once if none is left that signs. Raises what the client does."""
        name = record_name(self._audience, key_id)
        with contextlib.suppress(NotBound):
            binding = await self._meta.get(name, linearizable=True)
            if binding is not None:
                await self._meta.unbind(name, version=binding.version)
                self._learn(name, binding.version + 1, None)

    async def _publish(self, step: Publish, algorithm: Algorithm) -> None:
        key_id = step.terms.key_id
        record = new_record(step.terms, self._roots[0], algorithm, self._audience)
        name = record_name(self._audience, key_id)
        # Whoever binds this number first has made the next key; everybody else takes that one.
        binding = await self._meta.bind(name, encode_record(record))
        if binding.created:
            _log.info("header key %d of %s is published", key_id, self._audience)
        self._learn(name, binding.version, binding.unit)

    async def _rotate_forever(self, rotation: Rotation) -> None:
        # A quarter, not the half that would do: one round may fail.
        pause_s = rotation.schedule.publish_ahead_s / 4
        while True:
            try:
                await self.rotate(rotation)
                wait_s = pause_s
            except ClientClosed:
                return
            except GlobalTableError as error:
                _log.warning("header keys were not rotated, and will be: %s", error)
                wait_s = min(pause_s, _PAUSE_MAX_S)
            # A ring that changes may be one in which nobody signs any more.
            self._has_changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s * random.uniform(0.5, 1.0)):
                    await self._has_changed.wait()

    # --- following -------------------------------------------------------------------------------

    async def _follow(self) -> None:
        pause_s = _PAUSE_MIN_S
        while True:
            try:
                # Watched first, then read: a change in between is delivered, not missed.
                async with self._meta.watch(prefix=record_prefix(self._audience)) as watch:
                    await self._read()
                    pause_s = _PAUSE_MIN_S
                    async for change in watch:
                        bound = change.kind is not change.kind.UNBOUND
                        self._learn(change.key, change.version, change.unit if bound else None)
                        await self._keep()
            except ClientClosed:
                return
            except GlobalTableError as error:
                _log.warning("header keys of %s go on as known: %s", self._audience, error)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def _read(self) -> None:
        """Read all records: first what the nearest node knows, then what is so now."""
        known = set(self._names())
        changed = False
        scanned = set()
        async for name, binding in self._meta.scan(prefix=record_prefix(self._audience)):
            scanned.add(name)
            changed |= self._records.learn(name, binding.version, binding.unit)
        if changed:
            self._renew()
        # The node that was scanned may be behind the one that is watched, and what is gone is seen
        # by nobody who looks for what is there. So it is asked for by name, and currently.
        last = self._records.last_id
        names = {record_name(self._audience, last + n) for n in range(1, 1 + _AHEAD)}
        asked = self._records.versions_of(names | known | scanned)
        current = await self._meta.get_many(asked, linearizable=True)
        missing = {name: version for name, version in asked.items() if name not in current}
        changed = self._records.missing(missing)
        for name, binding in current.items():
            changed |= self._records.learn(name, binding.version, binding.unit)
        if changed:
            self._renew()
        self._has_read.set()
        await self._keep()

    def _names(self) -> list[str]:
        return [record_name(self._audience, key_id) for key_id in self._records.by_id]

    def _learn(self, name: str, version: int, unit: str | None) -> None:
        if self._records.learn(name, version, unit):
            self._renew()

    def _renew(self) -> None:
        records = sorted(self._records.by_id.values(), key=lambda one: -one.sign_until_s)
        if len(records) > KEYS_MAX:
            _log.error(
                "%d header keys of %s, of which the %d that sign longest are used",
                *(len(records), self._audience, KEYS_MAX),
            )
        self._ring = Keyring(self._audience, records[:KEYS_MAX], self._roots)
        self._has_changed.set()
        if self._ring.unusable:
            _log.warning(
                "header keys %s of %s cannot be used: no root secret here has made them",
                *(sorted(self._ring.unusable), self._audience),
            )
        for listener in self._listeners:
            listener(self._ring)

    # --- the file --------------------------------------------------------------------------------

    async def _begin_from(self, path: Path) -> None:
        records = await asyncio.to_thread(
            kept_file.load, path, FILE_BYTES_MAX, lambda data: decode_keys(self._audience, data)
        )
        if records:
            self._records.assume(records)
            self._renew()

    async def _keep(self) -> None:
        """Keep the ring for the next start; a disk that fails is logged, and nothing else."""
        if self._kept_in is None:
            return
        content = encode_keys(self._audience, self._ring.records.values())
        try:
            await asyncio.to_thread(kept_file.replace, self._kept_in, content)
        except StorageError as error:
            _log.warning("header keys are not kept for the next start: %s", error)


def _log_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("%s ended, and should not have", task.get_name(), exc_info=error)
