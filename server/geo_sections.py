"""`[geos.NAME]` of the configuration: read, checked against the rest of the file, and written."""

from collections.abc import Sequence

from globaltable.errors import ConfigError
from globaltable.geo import Geo, require_apart
from globaltable.server.config import GeoConfig, NodeConfig
from globaltable.toml_section import Section, as_count, as_name, as_names


def take_geos(
    root: Section, nodes: Sequence[NodeConfig], tables: Sequence[str], replicas: int
) -> tuple[GeoConfig, ...]:
    """Raises `ConfigError`."""
    section = root.section("geos")
    geos = []
    for key in section.names():
        name = as_name("geos", key)
        geos.append(_geo(name, section.section(key), nodes, tables, replicas))
    require_apart([one.geo for one in geos])
    return tuple(geos)


def _geo(
    name: str,
    own: Section,
    nodes: Sequence[NodeConfig],
    tables: Sequence[str],
    replicas: int,
) -> GeoConfig:
    geo = Geo(name, own.take("regions", as_names), own.take("tables", as_names))
    there = [node for node in nodes if geo.allows(node.region)]
    groups = own.take("groups", as_count, max(1, len(there)))
    leader = take_leader(own, geo.regions)
    own.finish("regions, tables, groups, leader")
    known = {node.region for node in nodes}
    for region in geo.regions:
        if region not in known:
            raise ConfigError(
                f"{own.setting('regions')} = {list(geo.regions)}: there is no region {region!r}; "
                f"there are {', '.join(sorted(known))}"
            )
    if len(geo.regions) < replicas:
        raise ConfigError(
            f"{own.setting('regions')} = {list(geo.regions)}: with groups.replicas = {replicas} a "
            "geo needs as many regions, for each replica of a group is in a region of its own"
        )
    for table in geo.tables:
        if not table.endswith("*") and table not in tables:
            raise ConfigError(
                f"{own.setting('tables')}: {table!r} is none of tables; add it there, or give a "
                f"beginning that tables to come will share, as in {table.partition('.')[0]}.*"
            )
    return GeoConfig(geo, groups, leader)


def take_leader(section: Section, regions: Sequence[str]) -> str:
    """A region that is to lead."""
    if "leader" not in section:
        return ""
    leader = section.take("leader", as_name)
    if leader not in regions:
        raise ConfigError(
            f"{section.setting('leader')} = {leader!r}: give one of its regions, "
            f"{', '.join(regions)}"
        )
    return leader


def render_geos(geos: Sequence[GeoConfig]) -> list[str]:
    """Lines of TOML."""
    lines = []
    for geo, groups, leader in ((one.geo, one.groups, one.leader) for one in geos):
        lines += [f'[geos."{geo.name}"]', f"regions = {_list(geo.regions)}"]
        lines += [f"tables = {_list(geo.tables)}", f"groups = {groups}"]
        lines += [f'leader = "{leader}"'] if leader else []
        lines += [""]
    return lines


def _list(names: Sequence[str]) -> str:
    # Names hold no sign that TOML would have escaped.
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
