"""Every bound that a caller or a peer can run into, named once.

Sizes are in bytes of UTF-8 unless a name says otherwise. The bounds on names are part of the
stored format (an LMDB key holds at most 511 bytes); the others may be raised with care.
"""

from typing import Final

KEY_BYTES_MAX: Final = 256
UNIT_BYTES_MAX: Final = 64
TABLE_BYTES_MAX: Final = 64
VERSION_MAX: Final = 2**63 - 1

WRITE_OPS_MAX: Final = 4_096
"""Ops in one Write request."""

READ_KEYS_MAX: Final = 16_384
"""Keys in one Read request."""

SCAN_PAGE_MAX: Final = 10_000
"""Entries in one page of a Scan."""

BATCH_OPS_MAX: Final = 4_096
"""Ops in one log entry."""

BATCH_BYTES_MAX: Final = 2_097_152
"""Encoded bytes of one log entry: above BATCH_OPS_MAX ops of the largest size."""

APPEND_BYTES_MAX: Final = 4_194_304
"""Bytes of entries in one append message: above BATCH_BYTES_MAX, so no entry is ever split."""

FRAME_BYTES_MAX: Final = 33_554_432
"""One frame between peers: a few full append messages."""

GRPC_MESSAGE_BYTES_MAX: Final = 8_388_608
"""One message on the client port: above a Write of the largest ops and a page of a Scan."""

TOPOLOGY_BYTES_MAX: Final = 524_288
"""The topology's text, which is a unit of the system table: a quarter of BATCH_BYTES_MAX."""
