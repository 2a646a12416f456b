"""A fleet to test with: three regions, a unit for important tenants, one of twice the size."""

from globaltable.routing.fleet import Distances, Fleet, Unit

DISTANCES = Distances({frozenset(("bj", "sh")): 28.0, frozenset(("sh", "sz")): 26.0}, 36.0)
FLEET = Fleet.of(
    (
        Unit("A", "bj", 2.0),
        Unit("B", "sh"),
        Unit("C", "sz"),
        Unit("V", "sz", tags=frozenset(["vip"])),
    ),
    DISTANCES,
)
