"""What is routed, and how, as one TOML document declares it: units, dimensions, policies.

Responsible for the configuration as values that are valid from then on. What is wrong is refused
with one line that names the setting, the value and what to do.

A *dimension* is one kind of thing that is routed: users, conversations, documents. Its *layer* says
how its keys find their unit:

* L0, whom a client connects to: the nearest unit that may be given something new;
* L1, whom a user belongs to: a static rule (`static_rules`);
* L2, who owns a session: its binding in GlobalTable, made by a policy when it is first asked for.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from globaltable.errors import ConfigError, InvalidArgument
from globaltable.routing import policy_text
from globaltable.routing.fleet import EVERYTHING, Distances, Fleet, Selection, Unit
from globaltable.routing.header import LIFETIME_S_MAX
from globaltable.routing.policies import Policy
from globaltable.routing.static_rules import Rule, as_rules
from globaltable.toml_file import load_toml
from globaltable.toml_section import (
    Section,
    as_count,
    as_milliseconds,
    as_name,
    as_seconds,
    as_share,
    as_text,
    one_of,
    parse_document,
)
from globaltable.validation import require_table, require_unit

META_TABLE_DEFAULT: Final = "routing.meta"
TTL_S_DEFAULT: Final = 300.0
GRACE_S_DEFAULT: Final = 86_400.0
CACHED_MAX_DEFAULT: Final = 100_000
TIMEOUT_S_DEFAULT: Final = 5.0


class Layer(enum.Enum):
    """How a dimension's keys find their unit."""

    L0 = "L0"
    """The nearest unit that may be given something new."""
    L1 = "L1"
    """A static rule."""
    L2 = "L2"
    """A binding in GlobalTable."""


class Unreachable(enum.Enum):
    """What becomes of a key that nobody knows while GlobalTable cannot be reached."""

    REFUSE = "refuse"
    PROVISIONAL = "provisional"
    """Where the policy proposes, and the answer says that nothing is bound."""


@dataclass(frozen=True)
class Nearest:
    """A dimension of layer L0."""

    name: str
    ttl_s: float
    among: Selection = EVERYTHING

    layer = Layer.L0


@dataclass(frozen=True)
class Static:
    """A dimension of layer L1."""

    name: str
    ttl_s: float
    rules: tuple[Rule, ...]

    layer = Layer.L1


@dataclass(frozen=True)
class Bound:
    """A dimension of layer L2."""

    name: str
    ttl_s: float
    table: str
    policy: str
    """Its name: a key of `RoutingConfig.policies`, of which a newer one may be set at run time."""
    grace_s: float = GRACE_S_DEFAULT
    """For how long past its expiry a route is gone on with while GlobalTable is unreachable."""
    unreachable: Unreachable = Unreachable.REFUSE

    layer = Layer.L2


Dimension = Nearest | Static | Bound


class Probes(NamedTuple):
    """How units are asked whether they are well."""

    period_s: float = 2.0
    timeout_s: float = 1.0
    failures: int = 3
    """One after the other, before a unit counts as unhealthy."""


class TlsFiles(NamedTuple):
    """Paths of PEM files: CAs to trust, a certificate with its chain, and its key."""

    ca: Path
    cert: Path
    key: Path


class Listening(NamedTuple):
    """How a router is asked. Without `tls`, in the clear."""

    tls: TlsFiles | None = None
    """What it shows, and whose CA signs those who ask."""
    admins: frozenset[str] = frozenset()
    """URIs in the certificates of those who may set policies and drain units."""
    plaintext_beyond_loopback: bool = False


PLAIN: Final = Listening()


@dataclass(frozen=True)
class RoutingConfig:
    """All of it."""

    namespace: str
    """Whose routes these are: another namespace's headers are not taken for them."""
    endpoints: tuple[str, ...]
    region: str
    """Where this router is: clients that do not say where they are count as being here."""
    meta_table: str
    fleet: Fleet
    dimensions: Mapping[str, Dimension]
    policies: Mapping[str, Policy]
    cached_max: int
    timeout_s: float = TIMEOUT_S_DEFAULT
    """How long GlobalTable may take to answer one question."""
    probes: Probes | None = None
    tls: TlsFiles | None = None
    """What is shown to GlobalTable's nodes; None to go in the clear."""
    listening: Listening = PLAIN

    @property
    def homes(self) -> Mapping[str, Sequence[Rule]]:
        """The rules of the dimensions of layer L1."""
        return {one.name: one.rules for one in self.dimensions.values() if isinstance(one, Static)}

    @property
    def bound(self) -> tuple[Bound, ...]:
        """The dimensions of layer L2."""
        return tuple(one for one in self.dimensions.values() if isinstance(one, Bound))

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that GlobalTable must know."""
        return (*dict.fromkeys(one.table for one in self.bound), self.meta_table)

    def dimension(self, name: str) -> Dimension:
        """The dimension of that name. Raises `InvalidArgument`."""
        dimension = self.dimensions.get(name)
        if dimension is None:
            raise InvalidArgument(
                f"{name!r} is no dimension; those there are: {', '.join(self.dimensions)}"
            )
        return dimension


def load(path: Path) -> RoutingConfig:
    """The configuration in a file. Raises `ConfigError`, naming the file."""
    return load_toml(path, lambda text, directory: parse(text, base_dir=directory))


def parse(text: str, *, base_dir: Path = Path()) -> RoutingConfig:
    """The configuration in TOML text; relative paths are taken from `base_dir`. Raises
    `ConfigError`."""
    root = Section("", parse_document(text))
    namespace = root.take("namespace", as_name)
    region = root.take("region", as_name) if "region" in root else ""
    endpoints = root.take("endpoints", _as_endpoints)
    meta_table = root.take("meta_table", _as_table, META_TABLE_DEFAULT)
    cached_max = root.take("cached_max", as_count, CACHED_MAX_DEFAULT)
    timeout_s = root.take("timeout_s", as_seconds, TIMEOUT_S_DEFAULT)
    fleet = Fleet.of(_units(root.section("units")), _distances(root))
    policies = _policies(root.section("policies"))
    dimensions = _dimensions(root.section("dimensions"), fleet, policies, meta_table)
    probes = _probes(root)
    tls = _tls(root.section("tls"), base_dir)
    listening = _listening(root.section("listening"), base_dir)
    root.finish(
        "namespace, region, endpoints, meta_table, cached_max, timeout_s, [units.NAME], "
        "[distances], [dimensions.NAME], [policies], [probes], [tls], [listening]"
    )
    config = RoutingConfig(
        namespace,
        endpoints,
        region,
        meta_table,
        fleet,
        dimensions,
        policies,
        cached_max,
        timeout_s,
        probes,
        tls,
        listening,
    )
    for name, policy in policies.items():
        policy_text.require_known(f"policies.{name}", policy, fleet, config.homes.keys())
    return config


def _as_endpoints(setting: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f'{setting} = {value!r}: give a list, as in ["127.0.0.1:7101"]')
    return tuple(as_text(setting, one) for one in value)


def _as_table(setting: str, value: object) -> str:
    table = as_text(setting, value)
    try:
        require_table(table)
    except InvalidArgument as error:
        raise ConfigError(f"{setting}: {error}") from error
    return table


def _units(section: Section) -> list[Unit]:
    units = []
    for key in section.names():
        own = section.section(key)
        try:
            require_unit(key)
        except InvalidArgument as error:
            raise ConfigError(f"{own.name}: {error}") from error
        units.append(
            Unit(
                name=key,
                region=own.take("region", as_name),
                capacity=own.take("capacity", as_share, 1.0),
                address=own.take("address", as_text) if "address" in own else "",
                tags=own.take("tags", _as_tags, frozenset()),
            )
        )
        own.finish("region, capacity, address, tags")
    if not units:
        raise ConfigError("there are no units; write a section [units.NAME] for each")
    return units


def _as_tags(setting: str, value: object) -> frozenset[str]:
    if not isinstance(value, list):
        raise ConfigError(f'{setting} = {value!r}: give a list of names, as in ["vip"]')
    return frozenset(as_name(setting, one) for one in value)


def _distances(root: Section) -> Distances:
    if "distances" not in root:
        return Distances()
    section = root.section("distances")
    distances = Distances(
        round_trip_ms=section.take("round_trip_ms", as_milliseconds, Distances.round_trip_ms),
        pairs_ms=_pairs(section.section("pairs")),
    )
    section.finish("round_trip_ms, [distances.pairs.REGION]")
    return distances


def _pairs(section: Section) -> dict[frozenset[str], float]:
    """A section for a region, with the round trips to others. Clients' regions need no units."""
    pairs: dict[frozenset[str], float] = {}
    for region in section.names():
        own = section.section(region)
        for other in own.names():
            pair = frozenset((region, other))
            if len(pair) == 1 or pair in pairs:
                raise ConfigError(
                    f"{own.setting(other)}: give each pair of different regions one round trip"
                )
            pairs[pair] = own.take(other, as_milliseconds)
    return pairs


def _policies(section: Section) -> dict[str, Policy]:
    policies = {}
    for name in section.names():
        as_name(section.name, name)
        policies[name] = section.take(name, policy_text.parse)
    return policies


def _dimensions(
    section: Section, fleet: Fleet, policies: Mapping[str, Policy], meta_table: str
) -> dict[str, Dimension]:
    dimensions: dict[str, Dimension] = {}
    tables = {meta_table: "meta_table"}
    for key in section.names():
        name = as_name(section.name, key)
        own = section.section(key)
        layer = own.take("layer", one_of(tuple(layer.value for layer in Layer)))
        ttl_s = own.take("ttl_s", as_seconds, TTL_S_DEFAULT)
        match Layer(layer):
            case Layer.L0:
                among = own.take("among", policy_text.as_selection, EVERYTHING)
                own.finish("layer, ttl_s, among")
                dimensions[name] = Nearest(name, ttl_s, among)
            case Layer.L1:
                rules = own.take("rules", lambda s, v: as_rules(s, v, fleet))
                own.finish("layer, ttl_s, rules")
                dimensions[name] = Static(name, ttl_s, rules)
            case Layer.L2:
                dimensions[name] = one = _bound(name, ttl_s, own, policies)
                if one.table in tables:
                    raise ConfigError(
                        f"{own.setting('table')} = {one.table!r} is {tables[one.table]} already"
                    )
                tables[one.table] = own.setting("table")
    if not dimensions:
        raise ConfigError("there are no dimensions; write a section [dimensions.NAME] for each")
    return dimensions


def _bound(name: str, ttl_s: float, own: Section, policies: Mapping[str, Policy]) -> Bound:
    if not 1.0 <= ttl_s <= LIFETIME_S_MAX:
        raise ConfigError(
            f"{own.setting('ttl_s')} = {ttl_s}: give between 1 and {LIFETIME_S_MAX} seconds, for "
            "so long a signed route may live"
        )
    table = own.take("table", _as_table)
    policy = own.take("policy", as_name)
    if policy not in policies:
        raise ConfigError(
            f"{own.setting('policy')} = {policy!r} is no policy; those there are: "
            f"{', '.join(policies) or 'none, write a section [policies]'}"
        )
    grace_s = own.take("grace_s", as_seconds, GRACE_S_DEFAULT)
    unreachable = own.take(
        "unreachable", one_of(tuple(one.value for one in Unreachable)), Unreachable.REFUSE.value
    )
    own.finish("layer, ttl_s, table, policy, grace_s, unreachable")
    return Bound(name, ttl_s, table, policy, grace_s, Unreachable(unreachable))


def _probes(root: Section) -> Probes | None:
    if "probes" not in root:
        return None
    section = root.section("probes")
    default = Probes()
    probes = Probes(
        section.take("period_s", as_seconds, default.period_s),
        section.take("timeout_s", as_seconds, default.timeout_s),
        section.take("failures", as_count, default.failures),
    )
    section.finish("period_s, timeout_s, failures")
    return probes


def _tls(section: Section, base_dir: Path, *others: str) -> TlsFiles | None:
    """The three files of a section, all or none."""
    names = ("ca", "cert", "key")
    given = [name for name in names if name in section]
    paths = [base_dir / section.take(name, as_text) for name in names] if given else []
    section.finish(", ".join((*names, *others)))
    return TlsFiles(*paths) if paths else None


def _listening(section: Section, base_dir: Path) -> Listening:
    nobody: frozenset[str] = frozenset()
    admins = section.take("admins", _as_uris, nobody)
    plaintext = section.take("plaintext_beyond_loopback", _as_flag, False)
    tls = _tls(section, base_dir, "admins", "plaintext_beyond_loopback")
    if admins and tls is None:
        raise ConfigError(
            f"{section.setting('admins')}: without ca, cert and key nobody shows who it is"
        )
    return Listening(tls, admins, plaintext)


def _as_uris(setting: str, value: object) -> frozenset[str]:
    if not isinstance(value, list):
        raise ConfigError(f'{setting} = {value!r}: give a list, ["globaltable://im/client/ops"]')
    return frozenset(as_text(setting, one) for one in value)


def _as_flag(setting: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{setting} = {value!r}: give true or false")
    return value
