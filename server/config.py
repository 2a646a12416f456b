"""The configuration of a cluster: one TOML file that all its nodes share.

Parsed once, into frozen values that are valid by construction. Whatever is wrong is refused with
one line that names the setting, the value and what to do; an unknown setting is wrong too, for a
misspelt one would otherwise be ignored.
"""

import ipaddress
import json
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from globaltable.errors import ConfigError, InvalidArgument
from globaltable.placement import RoundTrips, placed
from globaltable.topology import REPLICAS_ALLOWED, SLOTS_DEFAULT, Topology, spread
from globaltable.validation import require_table

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("json", "text")
_NAME_CHARACTERS_MAX: Final = 64
_NESTING_MAX: Final = 16
_PORT_DIGITS_MAX: Final = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: object, setting: str) -> "Address":
        host, separator, port = str(text).rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        bare = host and not {"[", "]"} & set(host)
        if not isinstance(text, str) or not separator or not bare or not port.isdecimal():
            raise ConfigError(f'{setting} = {text!r}: give "host:port", as in "127.0.0.1:7101"')
        if len(port) > _PORT_DIGITS_MAX or not 1 <= int(port) <= 65_535:
            raise ConfigError(f"{setting} = {text!r}: the port must be between 1 and 65535")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True)
class RegionConfig:
    """A region, and its node."""

    name: str
    peer: Address
    client: Address
    data_dir: Path


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds."""

    heartbeat_s: float = 0.05
    election_min_s: float = 0.5
    election_max_s: float = 1.0
    request_s: float = 5.0
    drain_s: float = 5.0
    reconnect_min_s: float = 0.05
    reconnect_max_s: float = 1.0
    flush_interval_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one node. Those of the stored and wire formats are in `globaltable.limits`."""

    pending_ops_per_group: int = 16_384
    log_entries_per_group: int = 8_192
    log_bytes_per_group: int = 67_108_864
    flush_ops: int = 32_768
    peer_buffer_bytes: int = 67_108_864
    watchers: int = 10_000
    snapshot_chunk_bytes: int = 262_144


@dataclass(frozen=True, slots=True)
class InjectedLatency:
    """Round trips added between regions, for demonstrations and tests. Off in production."""

    round_trip_ms: float
    pairs: Mapping[frozenset[str], float] = field(default_factory=dict)

    def one_way_s(self, a: str, b: str) -> float:
        """The delay added to what `a` sends to `b`."""
        if a == b:
            return 0.0
        return self.pairs.get(frozenset((a, b)), self.round_trip_ms) / 2_000


@dataclass(frozen=True, slots=True)
class Placement:
    """What leaders are placed by: the round trips there are between regions, and their shares of
    the writes. `globaltable plan` measures them and writes this section."""

    round_trip_ms: float
    pairs: Mapping[frozenset[str], float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    """For every region, or for none: then they count alike."""


@dataclass(frozen=True, slots=True)
class Config:
    """A whole cluster, as every node of it sees it."""

    cluster: str
    tables: tuple[str, ...]
    regions: tuple[RegionConfig, ...]
    groups: int = 3
    replicas: int = 3
    slots: int = SLOTS_DEFAULT
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)
    injected_latency: InjectedLatency | None = None
    placement: Placement | None = None
    log_level: str = "info"
    log_format: str = "json"
    cluster_id: str = ""
    """Tells a cluster from an earlier one of its name, whose nodes may come back."""

    @property
    def fence(self) -> str:
        """What peers and data directories must be of. No name and no id holds the sign between."""
        return f"{self.cluster}/{self.cluster_id}" if self.cluster_id else self.cluster

    def region(self, name: str) -> RegionConfig:
        """The region of that name; `ConfigError` if there is none."""
        for region in self.regions:
            if region.name == name:
                return region
        known = ", ".join(region.name for region in self.regions)
        raise ConfigError(f"region {name!r} is not in the configuration; it has {known}")

    def round_trips(self) -> RoundTrips | None:
        """Between the regions, if the file says anything of them: those of [placement], or else
        the injected ones, for where there is injected latency it is all there is."""
        said = self.placement or self.injected_latency
        return RoundTrips(said.round_trip_ms, said.pairs) if said is not None else None

    def topology(self) -> Topology:
        """Which node holds which group, and should lead it."""
        names = [region.name for region in self.regions]
        dealt = spread(self.cluster, names, self.groups, self.replicas, self.slots)
        weights = self.placement.weights if self.placement is not None else None
        return placed(dealt, self.round_trips() or RoundTrips(), weights)


def load(path: Path) -> Config:
    """The configuration in a file. Raises `ConfigError`, naming the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    try:
        return parse(text, base_dir=path.resolve().parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse(text: str, *, base_dir: Path) -> Config:
    """The configuration in TOML text. Relative paths are taken from `base_dir`."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Beside its own error: numbers of too many digits, and too deep a nesting.
        raise ConfigError(f"not valid TOML: {error}") from error
    _require_modest(document, _NESTING_MAX)
    return _Parser(base_dir).config(document)


def _require_modest(value: object, levels: int) -> None:
    """Refuse what error messages could not show: huge integers, and deep nesting."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ConfigError("not valid TOML: an integer of more than 64 bits")
    if isinstance(value, dict | list):
        if levels == 0:
            raise ConfigError(f"not a configuration: nested over {_NESTING_MAX} levels deep")
        for inner in value.values() if isinstance(value, dict) else value:
            _require_modest(inner, levels - 1)


class _Section:
    """A table of the document, from which every setting must be taken."""

    def __init__(self, name: str, values: object) -> None:
        if not isinstance(values, dict):
            raise ConfigError(f"{name} = {values!r}: this is a section, write [{name}]")
        self._name = name
        self._values = dict(values)

    def setting(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key

    def take(self, key: str, check: Callable[[str, object], T], default: T | None = None) -> T:
        if key not in self._values:
            if default is None:
                raise ConfigError(f"{self.setting(key)} is missing")
            return default
        return check(self.setting(key), self._values.pop(key))

    def section(self, key: str) -> "_Section":
        return _Section(self.setting(key), self._values.pop(key, {}))

    def names(self) -> list[str]:
        return list(self._values)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def finish(self, known: str) -> None:
        if self._values:
            key = self.setting(next(iter(self._values)))
            raise ConfigError(f"{key} is not a known setting; known here: {known}")


def _text(setting: str, value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ConfigError(f"{setting} = {value!r}: give a string that is not empty, without NUL")
    return value


def _name(setting: str, value: object) -> str:
    text = _text(setting, value)
    if len(text) > _NAME_CHARACTERS_MAX or not all(c.isalnum() or c in "._-" for c in text):
        raise ConfigError(
            f"{setting} = {value!r}: use up to {_NAME_CHARACTERS_MAX} letters, digits, "
            "'.', '_' and '-'"
        )
    return text


def _count(setting: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{setting} = {value!r}: give a whole number above 0")
    return value


def _seconds(setting: str, value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:  # type: ignore[arg-type,operator]
        raise ConfigError(f"{setting} = {value!r}: give a number of seconds above 0")
    return float(value)  # type: ignore[arg-type]


def _milliseconds(setting: str, value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= 60_000:  # type: ignore[operator]
        raise ConfigError(f"{setting} = {value!r}: give milliseconds between 0 and 60000")
    return float(value)  # type: ignore[arg-type]


def _weight(setting: str, value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1e9:  # type: ignore[operator]
        raise ConfigError(f"{setting} = {value!r}: give a share of the writes, from 0 to 1e9")
    return float(value)  # type: ignore[arg-type]


def _tables(setting: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f'{setting} = {value!r}: give a list of names, as in ["im.session"]')
    for table in value:
        try:
            require_table(table)
        except InvalidArgument as error:
            raise ConfigError(f"{setting}: {error}") from error
    if len(set(value)) != len(value):
        raise ConfigError(f"{setting} = {value!r}: a table is named twice")
    return tuple(value)


def _one_of(choices: tuple[str, ...]) -> Callable[[str, object], str]:
    def check(setting: str, value: object) -> str:
        if value not in choices:
            raise ConfigError(f"{setting} = {value!r}: give one of {', '.join(choices)}")
        return str(value)

    return check


class _Parser:
    def __init__(self, base_dir: Path) -> None:
        self._base_dir = base_dir

    def config(self, document: dict[str, Any]) -> Config:
        root = _Section("", document)
        cluster = root.take("cluster", _name)
        cluster_id = root.take("cluster_id", _name) if "cluster_id" in root else ""
        tables = root.take("tables", _tables)
        data_dir = self._base_dir / root.take("data_dir", _text, "data")
        log = root.section("log")
        log_level = log.take("level", _one_of(LOG_LEVELS), "info")
        log_format = log.take("format", _one_of(LOG_FORMATS), "json")
        log.finish("level, format")
        regions = self._regions(root.section("regions"), data_dir)
        groups = root.section("groups")
        count = groups.take("count", _count, len(regions))
        replicas = groups.take("replicas", _count, 3)
        slots = groups.take("slots", _count, SLOTS_DEFAULT)
        groups.finish("count, replicas, slots")
        timeouts = self._timeouts(root.section("timeouts"))
        limits = self._limits(root.section("limits"))
        names = [region.name for region in regions]
        injected = self._injected(root, names)
        placement = self._placement(root, names)
        root.finish(
            "cluster, cluster_id, tables, data_dir, [groups], [log], [regions.NAME], [timeouts], "
            "[limits], [injected_latency], [placement]"
        )
        _check_replicas(replicas, len(regions))
        if not count <= slots <= 65_536:
            raise ConfigError(
                f"groups.slots = {slots}: give between groups.count = {count} and 65536"
            )
        return Config(
            cluster=cluster,
            cluster_id=cluster_id,
            tables=tables,
            regions=regions,
            groups=count,
            replicas=replicas,
            slots=slots,
            timeouts=timeouts,
            limits=limits,
            injected_latency=injected,
            placement=placement,
            log_level=log_level,
            log_format=log_format,
        )

    def _regions(self, section: _Section, data_dir: Path) -> tuple[RegionConfig, ...]:
        regions: list[RegionConfig] = []
        used: dict[Address | Path, str] = {}
        for key in section.names():
            name = _name("regions", key)
            own = section.section(key)
            peer = own.take("peer", lambda s, v: Address.parse(v, s))
            client = own.take("client", lambda s, v: Address.parse(v, s))
            directory = self._base_dir / own.take("data_dir", _text, str(data_dir / name))
            own.finish("peer, client, data_dir")
            for what, value in (("peer", peer), ("client", client), ("data_dir", directory)):
                setting = own.setting(what)
                if value in used:
                    raise ConfigError(f"{setting} = {str(value)!r} is {used[value]} already")
                used[value] = setting
            regions.append(RegionConfig(name, peer, client, directory))
        if not regions:
            raise ConfigError("there are no regions; write a section [regions.NAME] for each")
        return tuple(regions)

    def _timeouts(self, section: _Section) -> Timeouts:
        timeouts = Timeouts(
            **{f.name: section.take(f.name, _seconds, f.default) for f in fields(Timeouts)}
        )
        section.finish(", ".join(f.name for f in fields(Timeouts)))
        if timeouts.election_min_s <= 3 * timeouts.heartbeat_s:
            raise ConfigError(
                f"timeouts.election_min_s = {timeouts.election_min_s}: must be above 3 x "
                f"timeouts.heartbeat_s = {timeouts.heartbeat_s}, or lost heartbeats cost the leader"
            )
        if timeouts.election_max_s <= timeouts.election_min_s:
            raise ConfigError(
                f"timeouts.election_max_s = {timeouts.election_max_s}: must be above "
                f"timeouts.election_min_s = {timeouts.election_min_s}"
            )
        if timeouts.reconnect_max_s < timeouts.reconnect_min_s:
            raise ConfigError(
                f"timeouts.reconnect_max_s = {timeouts.reconnect_max_s}: must not be below "
                f"timeouts.reconnect_min_s = {timeouts.reconnect_min_s}"
            )
        return timeouts

    def _limits(self, section: _Section) -> Limits:
        limits = Limits(**{f.name: section.take(f.name, _count, f.default) for f in fields(Limits)})
        section.finish(", ".join(f.name for f in fields(Limits)))
        if limits.pending_ops_per_group < 4_096:
            raise ConfigError(
                f"limits.pending_ops_per_group = {limits.pending_ops_per_group}: give at least "
                "4096, the ops of the largest request"
            )
        if not 1_024 <= limits.snapshot_chunk_bytes <= 4_194_304:
            raise ConfigError(
                f"limits.snapshot_chunk_bytes = {limits.snapshot_chunk_bytes}: give between 1024 "
                "and 4194304"
            )
        return limits

    def _injected(self, root: _Section, regions: list[str]) -> InjectedLatency | None:
        if "injected_latency" not in root:
            return None
        section = root.section("injected_latency")
        round_trip_ms = section.take("round_trip_ms", _milliseconds)
        pairs = self._pairs(section, regions)
        section.finish("round_trip_ms, [injected_latency.pairs]")
        return InjectedLatency(round_trip_ms, pairs)

    def _placement(self, root: _Section, regions: list[str]) -> Placement | None:
        if "placement" not in root:
            return None
        section = root.section("placement")
        round_trip_ms = section.take("round_trip_ms", _milliseconds)
        pairs = self._pairs(section, regions)
        weights = self._weights(section, regions)
        section.finish("round_trip_ms, [placement.pairs], [placement.weights]")
        return Placement(round_trip_ms, pairs, weights)

    def _pairs(self, section: _Section, regions: list[str]) -> dict[frozenset[str], float]:
        """Round trips of pairs of regions, each named once."""
        pairs: dict[frozenset[str], float] = {}
        own = section.section("pairs")
        for key in own.names():
            a, _, b = key.partition("-")
            for cut in [i for i, c in enumerate(key) if c == "-"]:
                if key[:cut] in regions and key[cut + 1 :] in regions:
                    a, b = key[:cut], key[cut + 1 :]
            if a == b or not {a, b} <= set(regions):
                raise ConfigError(
                    f'{own.setting(key)}: name two regions, as in "{"-".join(sorted(regions)[:2])}"'
                )
            if frozenset((a, b)) in pairs:
                raise ConfigError(f"{own.setting(key)}: this pair has a round trip already")
            pairs[frozenset((a, b))] = own.take(key, _milliseconds)
        return pairs

    def _weights(self, section: _Section, regions: list[str]) -> dict[str, float]:
        own = section.section("weights")
        named = own.names()
        if not named:
            return {}
        for name in regions:
            if name not in named:
                raise ConfigError(
                    f"{own.setting(name)} is missing: give every region its share of the writes, "
                    "or none"
                )
        weights = {name: own.take(name, _weight) for name in regions}
        own.finish(f"the regions, {', '.join(regions)}")
        if not any(weights.values()):
            raise ConfigError(f"{section.setting('weights')}: all are 0; some region must write")
        return weights


def _check_replicas(replicas: int, regions: int) -> None:
    if replicas not in REPLICAS_ALLOWED:
        raise ConfigError(
            f"groups.replicas = {replicas}: give {' or '.join(map(str, REPLICAS_ALLOWED))}; an "
            "even number survives no more losses than the odd one below it"
        )
    if replicas != regions:
        raise ConfigError(
            f"groups.replicas = {replicas} with {regions} regions: in this version each region "
            "holds a replica of each group; give as many replicas as there are regions"
        )


def render(config: Config) -> str:
    """TOML text that parses to the same configuration."""
    tables = ", ".join(f'"{table}"' for table in config.tables)
    lines = [f'cluster = "{config.cluster}"', f"tables = [{tables}]"]
    lines += [f'cluster_id = "{config.cluster_id}"'] if config.cluster_id else []
    lines += [""]
    lines += ["[groups]", f"count = {config.groups}", f"replicas = {config.replicas}"]
    lines += [f"slots = {config.slots}", ""]
    lines += ["[log]", f'level = "{config.log_level}"', f'format = "{config.log_format}"', ""]
    for region in config.regions:
        lines += [f'[regions."{region.name}"]']
        lines += [f"peer = {_quoted(str(region.peer))}"]
        lines += [f"client = {_quoted(str(region.client))}"]
        lines += [f"data_dir = {_quoted(str(region.data_dir))}", ""]
    for title, values in (("timeouts", config.timeouts), ("limits", config.limits)):
        lines += [f"[{title}]"]
        lines += [f"{f.name} = {getattr(values, f.name)!r}" for f in fields(values)]
        lines += [""]
    if config.injected_latency is not None:
        injected = config.injected_latency
        lines += ["[injected_latency]", f"round_trip_ms = {injected.round_trip_ms!r}", ""]
        lines += ["[injected_latency.pairs]", *_pair_lines(injected.pairs), ""]
    if config.placement is not None:
        lines += [render_placement(config.placement)]
    return "\n".join(lines) + "\n"


def render_placement(placement: Placement) -> str:
    """The section [placement] as TOML text."""
    lines = ["[placement]", f"round_trip_ms = {placement.round_trip_ms!r}", ""]
    lines += ["[placement.pairs]", *_pair_lines(placement.pairs)]
    if placement.weights:
        lines += ["", "[placement.weights]"]
        lines += [f'"{region}" = {weight!r}' for region, weight in placement.weights.items()]
    return "\n".join(lines)


def _pair_lines(pairs: Mapping[frozenset[str], float]) -> list[str]:
    return [f'"{"-".join(sorted(pair))}" = {ms!r}' for pair, ms in pairs.items()]


def _quoted(text: str) -> str:
    # JSON escapes all that TOML must have escaped, but DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
