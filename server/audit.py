"""The audit log: who moved, unbound or administrated what, and how it ended, in lines of JSON.

Files are numbered and only ever appended to; a full one is followed by the next, and the oldest
goes. Lines are written and synced by a thread of their own, behind the answers: what a crash takes
is the last moment's. Entries hold names, units, versions and outcomes; of certificates their names,
and never a key.

Invariant: what is to be audited is begun only while entries can be written. When they cannot, or
more than `WAITING_MAX` wait, it is refused; what is under way by then is still written down.
"""

import json
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import structlog

from globaltable.errors import StorageError
from globaltable.server.rate_limit import TokenBucket
from globaltable.server.security import AuditFiles

WAITING_MAX: Final = 65_536
RETRY_S: Final = 1.0
CLOSE_TIMEOUT_S: Final = 5.0
_REFUSALS_PER_S: Final = 10.0
_REFUSALS_AT_ONCE: Final = 100
"""Of what is refused, so much is written: or whoever may do nothing could have the log turned over
until what it is kept for is gone."""
_BATCH_MAX: Final = 4_096
_NAME: Final = "audit-{:08}.jsonl"

log = structlog.get_logger(__name__)


class AuditLog:
    """Of one node. `note` from the event loop; `close` writes what waits, and ends."""

    def __init__(
        self, directory: Path, files: AuditFiles, node: str, now: Callable[[], float]
    ) -> None:
        """Raises `StorageError` if the directory cannot be written to."""
        self._directory = directory
        self._files = files
        self._node = node
        self._now = now
        self._refusals = TokenBucket(_REFUSALS_PER_S, _REFUSALS_AT_ONCE, now())
        self._untold = 0
        """Refusals that were not written since the last that was."""
        self._waiting: deque[dict[str, Any]] = deque()
        self._awake = threading.Event()
        self._closing = False
        self._failure = ""
        self._bytes = 0
        self._torn = False
        """The last line may have been cut short."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._number = max(_numbers(directory), default=1)
            self._descriptor = self._open()
        except OSError as error:
            raise StorageError(
                f"the audit log in {directory} cannot be written: {error}"
            ) from error
        self._thread = threading.Thread(target=self._write_all, name="audit", daemon=True)
        self._thread.start()

    @property
    def refusal(self) -> str:
        """Why nothing that is to be audited may begin now; empty if it may."""
        if self._failure:
            return f"the audit log cannot be written ({self._failure}), so nothing is done unseen"
        if len(self._waiting) >= WAITING_MAX:
            return "the audit log does not keep up"
        return ""

    def note(self, who: str, act: str, outcome: str, details: Mapping[str, Any]) -> None:
        """Something that was done, or tried."""
        self._waiting.append(
            {
                "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "node": self._node,
                "who": who,
                "act": act,
                "outcome": outcome,
                **details,
            }
        )
        self._awake.set()

    def note_refused(self, who: str, act: str, details: Mapping[str, Any]) -> None:
        """Something that was asked for without the right to it."""
        if self._refusals.take(1, self._now()) > 0.0:
            self._untold += 1
            return
        more = {"not_noted_before": self._untold} if self._untold else {}
        self._untold = 0
        self.note(who, act, "PERMISSION_DENIED", {**details, **more})

    def close(self) -> None:
        """Write what waits, if it can be written."""
        self._closing = True
        self._awake.set()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._waiting:
            log.error("audit entries were lost", count=len(self._waiting))

    # --- the thread ------------------------------------------------------------------------------

    def _write_all(self) -> None:
        while not self._closing or self._waiting:
            self._awake.wait()
            self._awake.clear()
            while self._waiting:
                try:
                    self._write_some()
                except OSError as error:
                    if not self._failure:
                        log.error("the audit log cannot be written", reason=str(error))
                    self._failure = str(error)
                    if self._closing:
                        return
                    self._awake.wait(RETRY_S)
        os.close(self._descriptor)

    def _write_some(self) -> None:
        """Write the oldest entries, and only then take them from the queue: after a failure they
        are written again, and may stand twice."""
        batch = list(islice(self._waiting, _BATCH_MAX))
        if self._bytes >= self._files.file_bytes_max:
            self._turn_over()
        lines = [json.dumps(entry, ensure_ascii=False) + "\n" for entry in batch]
        data = ("\n" * self._torn + "".join(lines)).encode(errors="backslashreplace")
        self._torn = True
        while data:
            written = os.write(self._descriptor, data)
            self._bytes += written
            data = data[written:]
        os.fdatasync(self._descriptor)
        self._torn = False
        if self._failure:
            log.info("the audit log is written again")
            self._failure = ""
        for _ in batch:
            self._waiting.popleft()

    def _open(self) -> int:
        path = self._directory / _NAME.format(self._number)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._bytes = os.fstat(descriptor).st_size
        self._torn = bool(self._bytes) and os.pread(descriptor, 1, self._bytes - 1) != b"\n"
        return descriptor

    def _turn_over(self) -> None:
        self._number += 1
        full, self._descriptor = self._descriptor, self._open()
        os.close(full)
        numbers = _numbers(self._directory)
        for number in numbers[: max(0, len(numbers) - self._files.files)]:
            (self._directory / _NAME.format(number)).unlink(missing_ok=True)


def _numbers(directory: Path) -> list[int]:
    """Of the files there are, ascending."""
    names = (path.stem.removeprefix("audit-") for path in directory.glob("audit-*.jsonl"))
    return sorted(int(name) for name in names if name.isdecimal())
