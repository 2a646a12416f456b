"""The table of all targets: whatever decodes bytes that somebody else may have written."""

from typing import Final

from tests.fuzz import (
    client_targets,
    core_targets,
    routing_config_targets,
    routing_targets,
    security_targets,
    service_targets,
    store_targets,
    wire_targets,
)
from tests.fuzz.subject import Target

TARGETS: Final[tuple[Target, ...]] = (
    *wire_targets.TARGETS,
    *store_targets.TARGETS,
    *core_targets.TARGETS,
    *service_targets.TARGETS,
    *client_targets.TARGETS,
    *routing_targets.TARGETS,
    *routing_config_targets.TARGETS,
    *security_targets.TARGETS,
)
BY_NAME: Final = {target.name: target for target in TARGETS}
assert len(BY_NAME) == len(TARGETS)
