"""The configuration as a file: one TOML document that all nodes of a cluster share.

Parsed once, into the values of `config`, which are valid from then on: what settings say together
is checked here too, and refused with one line that names the setting, the value and what to do.
What is rendered parses to the same.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from globaltable.errors import ConfigError
from globaltable.server.config import (
    LOG_FORMATS,
    LOG_LEVELS,
    Address,
    Config,
    InjectedLatency,
    Limits,
    NodeConfig,
    Placement,
    Timeouts,
)
from globaltable.server.config_security import SECTIONS, quoted, render_security, take_security
from globaltable.server.console_section import render_console, take_console
from globaltable.server.geo_sections import render_geos, take_geos, take_leader
from globaltable.toml_file import load_toml
from globaltable.toml_section import (
    Section,
    as_count,
    as_milliseconds,
    as_name,
    as_seconds,
    as_switch,
    as_tables,
    as_text,
    as_weight,
    one_of,
    parse_document,
)
from globaltable.topology import REPLICAS_ALLOWED, SLOTS_DEFAULT


def load(path: Path) -> Config:
    """The configuration in a file. Raises `ConfigError`, naming the file."""
    return load_toml(path, lambda text, directory: parse(text, base_dir=directory))


def parse(text: str, *, base_dir: Path) -> Config:
    """The configuration in TOML text. Relative paths are taken from `base_dir`."""
    return _Parser(base_dir).config(parse_document(text))


class _Parser:
    def __init__(self, base_dir: Path) -> None:
        self._base_dir = base_dir

    def config(self, document: dict[str, Any]) -> Config:
        root = Section("", document)
        cluster = root.take("cluster", as_name)
        cluster_id = root.take("cluster_id", as_name) if "cluster_id" in root else ""
        tables = root.take("tables", as_tables)
        data_dir = self._base_dir / root.take("data_dir", as_text, "data")
        log = root.section("log")
        log_level = log.take("level", one_of(LOG_LEVELS), "info")
        log_format = log.take("format", one_of(LOG_FORMATS), "json")
        log_requests = log.take("requests", as_switch, False)
        log_slow_op_ms = log.take("slow_op_ms", as_milliseconds, 1_000.0)
        log.finish("level, format, requests, slow_op_ms")
        tracing = root.section("tracing")
        exporter = tracing.take("exporter", as_name, "none")
        tracing.finish("exporter")
        nodes = self._nodes(root.section("regions"), data_dir)
        groups = root.section("groups")
        count = groups.take("count", as_count, len(nodes))
        replicas = groups.take("replicas", as_count, 3)
        slots = groups.take("slots", as_count, SLOTS_DEFAULT)
        leader = take_leader(groups, list(dict.fromkeys(node.region for node in nodes)))
        groups.finish("count, replicas, slots, leader")
        geos = take_geos(root, nodes, tables, replicas)
        timeouts = self._timeouts(root.section("timeouts"))
        limits = self._limits(root.section("limits"))
        names = list(dict.fromkeys(node.region for node in nodes))
        injected = self._injected(root, names)
        placement = self._placement(root, names)
        security = take_security(root, tables, self._base_dir)
        console = take_console(root)
        for node in nodes:
            if node.tokens is not None and security.tls is None:
                raise ConfigError(
                    f"node {node.name} has tokens = {str(node.tokens)!r} without [tls]: tokens go "
                    "over TLS only, or whoever listens could show them too"
                )
        root.finish(
            "cluster, cluster_id, tables, data_dir, [groups], [geos.NAME], [log], [regions.NAME], "
            "[timeouts], [limits], [injected_latency], [placement], [tracing], [console], "
            f"{SECTIONS}"
        )
        _check_replicas(replicas, len(names))
        if not count <= slots <= 65_536:
            raise ConfigError(
                f"groups.slots = {slots}: give between groups.count = {count} and 65536"
            )
        for one in geos:
            if one.groups > slots:
                raise ConfigError(
                    f"geos.{one.geo.name}.groups = {one.groups}: give at most "
                    f"groups.slots = {slots}"
                )
        return Config(
            cluster=cluster,
            cluster_id=cluster_id,
            tables=tables,
            nodes=nodes,
            groups=count,
            leader=leader,
            geos=geos,
            replicas=replicas,
            slots=slots,
            timeouts=timeouts,
            limits=limits,
            injected_latency=injected,
            placement=placement,
            security=security,
            console=console,
            log_level=log_level,
            log_format=log_format,
            tracing_exporter="" if exporter == "none" else exporter,
            log_requests=log_requests,
            log_slow_op_ms=log_slow_op_ms,
        )

    def _nodes(self, section: Section, data_dir: Path) -> tuple[NodeConfig, ...]:
        """A region is a node of that name, or has nodes that are named each in a section."""
        nodes: list[NodeConfig] = []
        used: dict[str | Address | Path, str] = {}
        for key in section.names():
            region = as_name("regions", key)
            own = section.section(key)
            if "nodes" not in own:
                nodes.append(self._node(region, region, own, data_dir, used))
                continue
            several = own.section("nodes")
            own.finish("nodes, or peer, client, data_dir of its only one")
            named = several.names()
            if not named:
                raise ConfigError(
                    f"{own.setting('nodes')} is empty; write [regions.NAME.nodes.NAME]"
                )
            for inner in named:
                name = as_name(own.setting("nodes"), inner)
                nodes.append(self._node(name, region, several.section(inner), data_dir, used))
        if not nodes:
            raise ConfigError("there are no regions; write a section [regions.NAME] for each")
        return tuple(nodes)

    def _node(
        self,
        name: str,
        region: str,
        own: Section,
        data_dir: Path,
        used: dict[str | Address | Path, str],
    ) -> NodeConfig:
        peer = own.take("peer", lambda s, v: Address.parse(v, s))
        client = own.take("client", lambda s, v: Address.parse(v, s))
        directory = self._base_dir / own.take("data_dir", as_text, str(data_dir / name))
        listens = [
            own.take(key, lambda s, v: Address.parse(v, s)) if key in own else None
            for key in ("peer_listen", "client_listen", "metrics", "console", "tokens")
        ]
        own.finish("peer, client, data_dir, peer_listen, client_listen, metrics, console, tokens")
        if name in used:
            raise ConfigError(f"{used[name]} and {own.name} are both nodes named {name!r}")
        used[name] = own.name
        for what, value in (("peer", peer), ("client", client), ("data_dir", directory)):
            setting = own.setting(what)
            if value in used:
                raise ConfigError(f"{setting} = {str(value)!r} is {used[value]} already")
            used[value] = setting
        node = NodeConfig(name, region, peer, client, directory, *listens)
        # Of other nodes it may be the same: they are on other machines.
        if node.listens_for_peers_on == node.listens_for_clients_on:
            raise ConfigError(
                f"{own.name} listens on {node.listens_for_peers_on} for the other nodes and for "
                "clients; give two ports"
            )
        taken = [node.listens_for_peers_on, node.listens_for_clients_on]
        if node.metrics in taken:
            raise ConfigError(f"{own.name}: {node.metrics} is metrics, and another port already")
        if node.console is not None and node.console in (*taken, node.metrics):
            raise ConfigError(f"{own.name}: {node.console} is console, and another port already")
        if node.tokens is not None and node.tokens in (*taken, node.metrics, node.console):
            raise ConfigError(f"{own.name}: {node.tokens} is tokens, and another port already")
        return node

    def _timeouts(self, section: Section) -> Timeouts:
        timeouts = Timeouts(
            **{f.name: section.take(f.name, as_seconds, f.default) for f in fields(Timeouts)}
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

    def _limits(self, section: Section) -> Limits:
        limits = Limits(
            **{f.name: section.take(f.name, as_count, f.default) for f in fields(Limits)}
        )
        section.finish(", ".join(f.name for f in fields(Limits)))
        if limits.pending_ops_per_group < 4_096:
            raise ConfigError(
                f"limits.pending_ops_per_group = {limits.pending_ops_per_group}: give at least "
                "4096, the ops of the largest request"
            )
        if limits.calls <= limits.watchers:
            raise ConfigError(
                f"limits.calls = {limits.calls}: give more than limits.watchers = "
                f"{limits.watchers}, which are calls too, or there is no room for others"
            )
        if not 1_024 <= limits.snapshot_chunk_bytes <= 4_194_304:
            raise ConfigError(
                f"limits.snapshot_chunk_bytes = {limits.snapshot_chunk_bytes}: give between 1024 "
                "and 4194304"
            )
        return limits

    def _injected(self, root: Section, regions: list[str]) -> InjectedLatency | None:
        if "injected_latency" not in root:
            return None
        section = root.section("injected_latency")
        round_trip_ms = section.take("round_trip_ms", as_milliseconds)
        pairs = self._pairs(section, regions)
        section.finish("round_trip_ms, [injected_latency.pairs]")
        return InjectedLatency(round_trip_ms, pairs)

    def _placement(self, root: Section, regions: list[str]) -> Placement | None:
        if "placement" not in root:
            return None
        section = root.section("placement")
        round_trip_ms = section.take("round_trip_ms", as_milliseconds)
        pairs = self._pairs(section, regions)
        weights = self._weights(section, regions)
        section.finish("round_trip_ms, [placement.pairs], [placement.weights]")
        return Placement(round_trip_ms, pairs, weights)

    def _pairs(self, section: Section, regions: list[str]) -> dict[frozenset[str], float]:
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
            pairs[frozenset((a, b))] = own.take(key, as_milliseconds)
        return pairs

    def _weights(self, section: Section, regions: list[str]) -> dict[str, float]:
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
        weights = {name: own.take(name, as_weight) for name in regions}
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
    if replicas > regions:
        raise ConfigError(
            f"groups.replicas = {replicas} with {regions} regions: each replica of a group is in a "
            "region of its own; give at most as many replicas as there are regions"
        )


def render(config: Config) -> str:
    """TOML text that parses to the same configuration."""
    tables = ", ".join(f'"{table}"' for table in config.tables)
    lines = [f'cluster = "{config.cluster}"', f"tables = [{tables}]"]
    lines += [f'cluster_id = "{config.cluster_id}"'] if config.cluster_id else []
    lines += [""]
    lines += ["[groups]", f"count = {config.groups}", f"replicas = {config.replicas}"]
    lines += [f"slots = {config.slots}"]
    lines += [f'leader = "{config.leader}"'] if config.leader else []
    lines += ["", *render_geos(config.geos)]
    lines += ["[log]", f'level = "{config.log_level}"', f'format = "{config.log_format}"']
    lines += [f"requests = {str(config.log_requests).lower()}"]
    lines += [f"slow_op_ms = {config.log_slow_op_ms!r}", ""]
    if config.tracing_exporter:
        lines += ["[tracing]", f'exporter = "{config.tracing_exporter}"', ""]
    alone = Counter(node.region for node in config.nodes)
    for node in config.nodes:
        if node.name == node.region and alone[node.region] == 1:
            lines += [f'[regions."{node.region}"]']
        else:
            lines += [f'[regions."{node.region}".nodes."{node.name}"]']
        lines += [f"peer = {quoted(str(node.peer))}"]
        lines += [f"client = {quoted(str(node.client))}"]
        for key, listen in (
            ("peer_listen", node.peer_listen),
            ("client_listen", node.client_listen),
            ("metrics", node.metrics),
            ("console", node.console),
            ("tokens", node.tokens),
        ):
            lines += [f"{key} = {quoted(str(listen))}"] if listen is not None else []
        lines += [f"data_dir = {quoted(str(node.data_dir))}", ""]
    for title, values in (("timeouts", config.timeouts), ("limits", config.limits)):
        lines += [f"[{title}]"]
        lines += [f"{f.name} = {getattr(values, f.name)!r}" for f in fields(values)]
        lines += [""]
    if config.injected_latency is not None:
        injected = config.injected_latency
        lines += ["[injected_latency]", f"round_trip_ms = {injected.round_trip_ms!r}", ""]
        lines += ["[injected_latency.pairs]", *_pair_lines(injected.pairs), ""]
    if config.placement is not None:
        lines += [render_placement(config.placement), ""]
    lines += render_console(config.console)
    lines += [render_security(config.security)]
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
