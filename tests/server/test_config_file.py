"""What is wrong is refused by name and value; what is right survives `render` and `parse`."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.errors import ConfigError
from globaltable.server.config import (
    Address,
    Config,
    InjectedLatency,
    Limits,
    NodeConfig,
    Placement,
    Timeouts,
)
from globaltable.server.config_file import load, parse, render, render_placement

BASE = Path("/srv/globaltable")

HEAD = """
cluster = "im"
tables = ["im.session"]
"""
REGIONS = """
[regions.a]
peer = "10.0.0.1:7001"
client = "10.0.0.1:7101"
[regions.b]
peer = "10.0.0.2:7001"
client = "10.0.0.2:7101"
[regions.c]
peer = "10.0.0.3:7001"
client = "10.0.0.3:7101"
"""
GOOD = HEAD + REGIONS


def _without(line: str) -> str:
    assert line in GOOD
    return GOOD.replace(line, "", 1)


def _with(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


# What is wrong | the document | what the message must name: the setting, and its value.
BAD = {
    "not TOML": ("cluster = ", ["not valid TOML"]),
    "nothing at all": ("", ["cluster is missing"]),
    "no tables": (_without('tables = ["im.session"]'), ["tables is missing"]),
    "no regions": (HEAD, ["no regions", "[regions.NAME]"]),
    "no peer address": (_without('peer = "10.0.0.2:7001"'), ["regions.b.peer is missing"]),
    "no client address": (_without('client = "10.0.0.3:7101"'), ["regions.c.client is missing"]),
    "a setting misspelt": (HEAD + "tabels = []" + REGIONS, ["tabels is not a known setting"]),
    "a region's setting misspelt": (
        GOOD + 'peers = "10.0.0.3:7001"',
        ["regions.c.peers is not a known setting", "peer, client, data_dir"],
    ),
    "a timeout misspelt": (GOOD + "[timeouts]\nrequest = 1", ["timeouts.request is not a known"]),
    "a limit misspelt": (GOOD + "[limits]\nwatcher = 1", ["limits.watcher is not a known"]),
    "a section misspelt": (GOOD + "[timeout]\nrequest_s = 1", ["timeout is not a known setting"]),
    "a log setting misspelt": (GOOD + '[log]\nlvl = "info"', ["log.lvl is not a known setting"]),
    "a section that is a value": (HEAD + "log = 3" + REGIONS, ["log = 3", "[log]"]),
    "a region that is a value": (HEAD + "[regions]\na = 'x'", ["regions.a = 'x'", "[regions.a]"]),
    "the cluster's name a number": (_with('"im"', "7"), ["cluster = 7"]),
    "the cluster's name empty": (_with('"im"', '""'), ["cluster = ''"]),
    "the cluster's name with a space": (_with('"im"', '"i m"'), ["cluster = 'i m'"]),
    "the cluster's name too long": (_with('"im"', f'"{"x" * 65}"'), ["cluster = 'xxx", "64"]),
    "tables a string": (_with('["im.session"]', '"im.session"'), ["tables = 'im.session'"]),
    "tables empty": (_with('["im.session"]', "[]"), ["tables = []"]),
    "a table twice": (_with('["im.session"]', '["t", "t"]'), ["tables = ['t', 't']", "twice"]),
    "a table with a slash": (_with('["im.session"]', '["a/b"]'), ["tables", "'a/b'"]),
    "a table that is a number": (_with('["im.session"]', "[1]"), ["tables", "int", "1"]),
    "one address to listen on for both": (
        GOOD + 'peer_listen = "0.0.0.0:7"\nclient_listen = "0.0.0.0:7"',
        ["regions.c", "0.0.0.0:7", "two ports"],
    ),
    "an address to listen on without a port": (
        GOOD + 'peer_listen = "0.0.0.0"',
        ["regions.c.peer_listen = '0.0.0.0'", "host:port"],
    ),
    "fewer calls than watchers": (
        GOOD + "[limits]\nwatchers = 50\ncalls = 50",
        ["limits.calls = 50", "more than limits.watchers = 50"],
    ),
    "an address twice": (
        _with("10.0.0.2:7101", "10.0.0.1:7001"),
        ["regions.b.client = '10.0.0.1:7001'", "regions.a.peer already"],
    ),
    "a data directory twice": (
        GOOD + f'data_dir = "{BASE}/data/a"',
        ["regions.c.data_dir = '/srv/globaltable/data/a'", "regions.a.data_dir already"],
    ),
    "an address without a port": (
        _with("10.0.0.1:7001", "10.0.0.1"),
        ["regions.a.peer = '10.0.0.1'", "host:port"],
    ),
    "an address without a host": (_with("10.0.0.1:7001", ":7001"), ["regions.a.peer = ':7001'"]),
    "a port that is no number": (_with(":7001", ":http"), ["regions.a.peer = '10.0.0.1:http'"]),
    "port 0": (_with(":7001", ":0"), ["regions.a.peer = '10.0.0.1:0'", "between 1 and 65535"]),
    "port 65536": (_with(":7001", ":65536"), ["regions.a.peer = '10.0.0.1:65536'", "65535"]),
    "a negative port": (_with(":7001", ":-7"), ["regions.a.peer = '10.0.0.1:-7'"]),
    "an address that is a number": (
        _with('"10.0.0.1:7001"', "7001"),
        ["regions.a.peer = 7001", "host:port"],
    ),
    "a region's name with a slash": (_with("[regions.a]", "[regions.'a/b']"), ["regions = 'a/b'"]),
    "an even number of replicas": (
        GOOD + "[groups]\nreplicas = 4",
        ["groups.replicas = 4", "3 or 5", "even"],
    ),
    "one replica": (GOOD + "[groups]\nreplicas = 1", ["groups.replicas = 1"]),
    "more replicas than regions": (
        GOOD + "[groups]\nreplicas = 5",
        ["groups.replicas = 5", "3 regions"],
    ),
    "replicas a string": (GOOD + "[groups]\nreplicas = '3'", ["groups.replicas = '3'"]),
    "no groups": (GOOD + "[groups]\ncount = 0", ["groups.count = 0", "above 0"]),
    "groups a boolean": (GOOD + "[groups]\ncount = true", ["groups.count = True"]),
    "a leader that is no region": (
        GOOD + "[groups]\nleader = 'z'",
        ["groups.leader = 'z'", "a, b, c"],
    ),
    "a geo without regions": (GOOD + "[geos.g]\ntables = ['t']", ["geos.g.regions is missing"]),
    "a geo of a region that there is not": (
        GOOD + "[geos.g]\nregions = ['a', 'b', 'z']\ntables = ['im.session']",
        ["geos.g.regions", "no region 'z'", "a, b, c"],
    ),
    "a geo of fewer regions than replicas": (
        GOOD + "[geos.g]\nregions = ['a', 'b']\ntables = ['im.session']",
        ["geos.g.regions", "groups.replicas = 3"],
    ),
    "a geo of a table that there is not": (
        GOOD + "[geos.g]\nregions = ['a', 'b', 'c']\ntables = ['eu.session']",
        ["geos.g.tables", "'eu.session'", "eu.*"],
    ),
    "two geos of a table": (
        GOOD
        + "[geos.g]\nregions = ['a', 'b', 'c']\ntables = ['im.*']\n"
        + "[geos.h]\nregions = ['a', 'b', 'c']\ntables = ['im.session']\n",
        ["'im.*' of geo g", "'im.session' of geo h"],
    ),
    "a geo led from elsewhere": (
        GOOD + "[geos.g]\nregions = ['a', 'b', 'c']\ntables = ['im.*']\nleader = 'd'",
        ["geos.g.leader = 'd'", "a, b, c"],
    ),
    "a geo with a setting that is none": (
        GOOD + "[geos.g]\nregions = ['a', 'b', 'c']\ntables = ['im.*']\ncount = 3",
        ["geos.g.count is not a known setting", "groups"],
    ),
    "a geo of regions in one string": (
        GOOD + "[geos.g]\nregions = 'abc'\ntables = ['im.*']",
        ["geos.g.regions = 'abc'", "list of names"],
    ),
    "fewer slots than groups": (
        GOOD + "[groups]\ncount = 8\nslots = 7",
        ["groups.slots = 7", "groups.count = 8"],
    ),
    "too many slots": (GOOD + "[groups]\nslots = 65537", ["groups.slots = 65537", "65536"]),
    "a timeout of 0": (GOOD + "[timeouts]\nrequest_s = 0", ["timeouts.request_s = 0"]),
    "a negative timeout": (GOOD + "[timeouts]\ndrain_s = -1", ["timeouts.drain_s = -1"]),
    "an endless timeout": (GOOD + "[timeouts]\nrequest_s = inf", ["timeouts.request_s = inf"]),
    "a timeout that is none": (GOOD + "[timeouts]\nrequest_s = nan", ["timeouts.request_s = nan"]),
    "a timeout in words": (GOOD + "[timeouts]\nrequest_s = '5s'", ["timeouts.request_s = '5s'"]),
    "elections as fast as heartbeats": (
        GOOD + "[timeouts]\nheartbeat_s = 0.2\nelection_min_s = 0.6",
        ["timeouts.election_min_s = 0.6", "timeouts.heartbeat_s = 0.2"],
    ),
    "an election window turned round": (
        GOOD + "[timeouts]\nelection_min_s = 2\nelection_max_s = 2",
        ["timeouts.election_max_s = 2.0", "timeouts.election_min_s = 2.0"],
    ),
    "a reconnection window turned round": (
        GOOD + "[timeouts]\nreconnect_min_s = 2",
        ["timeouts.reconnect_max_s = 1.0", "timeouts.reconnect_min_s = 2.0"],
    ),
    "too few pending ops": (
        GOOD + "[limits]\npending_ops_per_group = 4095",
        ["limits.pending_ops_per_group = 4095", "4096"],
    ),
    "chunks too small": (
        GOOD + "[limits]\nsnapshot_chunk_bytes = 1023",
        ["limits.snapshot_chunk_bytes = 1023", "1024"],
    ),
    "chunks too large": (
        GOOD + "[limits]\nsnapshot_chunk_bytes = 4194305",
        ["limits.snapshot_chunk_bytes = 4194305", "4194304"],
    ),
    "a limit that is half a number": (GOOD + "[limits]\nwatchers = 1.5", ["limits.watchers = 1.5"]),
    "a log level of its own": (GOOD + "[log]\nlevel = 'loud'", ["log.level = 'loud'", "debug"]),
    "a log format of its own": (GOOD + "[log]\nformat = 'xml'", ["log.format = 'xml'", "json"]),
    "latency without a round trip": (
        GOOD + "[injected_latency]",
        ["injected_latency.round_trip_ms is missing"],
    ),
    "a negative latency": (
        GOOD + "[injected_latency]\nround_trip_ms = -1",
        ["injected_latency.round_trip_ms = -1", "60000"],
    ),
    "latency to a region that is not": (
        GOOD + "[injected_latency]\nround_trip_ms = 1\npairs = {a-z = 1}",
        ["injected_latency.pairs.a-z", "two regions"],
    ),
    "latency of a region to itself": (
        GOOD + "[injected_latency]\nround_trip_ms = 1\npairs = {a-a = 1}",
        ["injected_latency.pairs.a-a", "two regions"],
    ),
    "a pair that is named twice": (
        GOOD + "[injected_latency]\nround_trip_ms = 1\npairs = {a-b = 1, b-a = 2}",
        ["injected_latency.pairs.b-a", "already"],
    ),
    "placement without a round trip": (
        GOOD + "[placement.weights]\na = 1\nb = 1\nc = 1",
        ["placement.round_trip_ms is missing"],
    ),
    "a round trip in words": (
        GOOD + "[placement]\nround_trip_ms = '5 ms'",
        ["placement.round_trip_ms = '5 ms'", "milliseconds"],
    ),
    "a round trip to a region that is not": (
        GOOD + "[placement]\nround_trip_ms = 1\npairs = {a-z = 1}",
        ["placement.pairs.a-z", "two regions"],
    ),
    "a share for some regions only": (
        GOOD + "[placement]\nround_trip_ms = 1\nweights = {a = 1, b = 2}",
        ["placement.weights.c is missing", "every region"],
    ),
    "a share for a region that is not": (
        GOOD + "[placement]\nround_trip_ms = 1\nweights = {a = 1, b = 2, c = 3, z = 4}",
        ["placement.weights.z", "a, b, c"],
    ),
    "a share below nothing": (
        GOOD + "[placement]\nround_trip_ms = 1\nweights = {a = 1, b = -0.5, c = 3}",
        ["placement.weights.b = -0.5", "share"],
    ),
    "a share that is no number": (
        GOOD + "[placement]\nround_trip_ms = 1\nweights = {a = 1, b = nan, c = 3}",
        ["placement.weights.b = nan", "share"],
    ),
    "nobody who writes": (
        GOOD + "[placement]\nround_trip_ms = 1\nweights = {a = 0, b = 0, c = 0}",
        ["placement.weights", "all are 0"],
    ),
    "a placement of its own": (
        GOOD + "[placement]\nround_trip_ms = 1\nleader = 'a'",
        ["placement.leader", "[placement.pairs]"],
    ),
    "a data directory that is a number": (HEAD + "data_dir = 7" + REGIONS, ["data_dir = 7"]),
}


@pytest.mark.parametrize("wrong", BAD)
def test_what_is_wrong_is_named_with_its_value(wrong: str) -> None:
    text, named = BAD[wrong]
    with pytest.raises(ConfigError) as refused:
        parse(text, base_dir=BASE)
    message = str(refused.value)
    assert "\n" not in message
    for words in named:
        assert words in message


def test_the_least_that_is_right_gets_the_defaults() -> None:
    config = parse(GOOD, base_dir=BASE)
    assert (config.cluster, config.tables) == ("im", ("im.session",))
    assert (config.groups, config.replicas, config.slots) == (3, 3, 4096)
    assert config.timeouts == Timeouts()
    assert config.limits == Limits()
    assert config.injected_latency is None
    assert config.node("b").client == Address("10.0.0.2", 7101)


class TestSeveralNodesOfARegion:
    TWO = """
[regions.a.nodes.a-1]
peer = "10.0.0.1:7001"
client = "10.0.0.1:7101"
[regions.a.nodes.a-2]
peer = "10.0.0.1:7002"
client = "10.0.0.1:7102"
"""
    REST = GOOD[GOOD.index("[regions.b]") :]

    def test_they_are_named_each_in_a_section(self) -> None:
        config = parse(HEAD + self.TWO + self.REST, base_dir=BASE)
        names = [(node.name, node.region) for node in config.nodes]
        assert names == [("a-1", "a"), ("a-2", "a"), ("b", "b"), ("c", "c")]
        assert config.regions == ("a", "b", "c")
        assert config.groups == 4
        assert config.node("a-2").data_dir == BASE / "data/a-2"
        assert parse(render(config), base_dir=BASE) == config

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("[regions.a.nodes]", "regions.a.nodes is empty"),
            (TWO.replace("[regions.a.nodes.a-2]", "[regions.a.nodes.b]"), "nodes named 'b'"),
            (TWO + "[regions.a]\nclient = '10.0.0.1:7109'", "regions.a.client is not a known"),
            (TWO.replace("7102", "7101"), "regions.a.nodes.a-1.client already"),
        ],
    )
    def test_what_is_wrong_with_them_is_named(self, text: str, named: str) -> None:
        with pytest.raises(ConfigError, match=named):
            parse(HEAD + text + "\n" + self.REST, base_dir=BASE)


class TestPaths:
    def test_relative_ones_are_taken_from_the_file(self) -> None:
        text = HEAD + 'data_dir = "var"\n' + REGIONS + 'data_dir = "own/c"'
        config = parse(text, base_dir=BASE)
        directories = [region.data_dir for region in config.nodes]
        assert directories == [BASE / "var/a", BASE / "var/b", BASE / "own/c"]

    def test_absolute_ones_stay(self) -> None:
        text = HEAD + 'data_dir = "/data"\n' + REGIONS + 'data_dir = "/own/c"'
        config = parse(text, base_dir=BASE)
        directories = [str(region.data_dir) for region in config.nodes]
        assert directories == ["/data/a", "/data/b", "/own/c"]

    def test_a_file_is_found_from_anywhere(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "cluster.toml").write_text(GOOD)
        monkeypatch.chdir(tmp_path)
        config = load(Path("cluster.toml"))
        assert config.node("a").data_dir == tmp_path.resolve() / "data/a"

    @pytest.mark.parametrize("content", [None, b"\xff\xfe", b"cluster = 7"])
    def test_whatever_is_wrong_with_a_file_names_it(
        self, tmp_path: Path, content: bytes | None
    ) -> None:
        path = tmp_path / "cluster.toml"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"cluster\.toml"):
            load(path)


@pytest.mark.parametrize(
    "value",
    ["9" * 5_000, "0x" + "f" * 5_000, "[" * 3_000, f"[0x{'f' * 5_000}]", "[" * 20 + "]" * 20],
    ids=["digits", "hexadecimal", "open", "in a list", "deep"],
)
def test_what_could_not_be_shown_is_refused_all_the_same(value: str) -> None:
    with pytest.raises(ConfigError):
        parse(_with('tables = ["im.session"]', f"tables = {value}"), base_dir=BASE)


def test_a_port_of_any_number_of_digits_is_out_of_range() -> None:
    with pytest.raises(ConfigError, match="the port must be between 1 and 65535"):
        parse(_with("10.0.0.1:7001", "10.0.0.1:" + "7" * 5_000), base_dir=BASE)


@pytest.mark.parametrize("host", ["[[::1]", "[::1]]", "a[b", "[]"])
def test_a_host_holds_no_brackets(host: str) -> None:
    with pytest.raises(ConfigError, match='give "host:port"'):
        parse(_with("10.0.0.1:7001", f"{host}:7001"), base_dir=BASE)


def test_seconds_beyond_all_floats_are_refused() -> None:
    with pytest.raises(ConfigError):
        parse(GOOD + f"[timeouts]\nrequest_s = 1{'0' * 400}\n", base_dir=BASE)


@pytest.mark.parametrize("odd", ['"', "\\", "\n", "\x7f", "\x01", "é"])
def test_odd_characters_survive_rendering(odd: str) -> None:
    config = parse(_with("10.0.0.1:7001", "NAME:7001"), base_dir=BASE / f"x{odd}y")
    region = replace(config.nodes[0], peer=Address(f"x{odd}y", 7001))
    config = replace(config, nodes=(region, *config.nodes[1:]))
    assert parse(render(config), base_dir=BASE) == config


UNEQUAL = "round_trip_ms = 28\npairs = {a-b = 5, c-b = 25}\n"


@pytest.mark.parametrize("section", ["injected_latency", "placement"])
def test_a_pair_may_be_named_in_either_order(section: str) -> None:
    config = parse(f"{GOOD}[{section}]\n{UNEQUAL}", base_dir=BASE)
    said = config.injected_latency or config.placement
    assert said is not None and said.round_trip_ms == 28.0
    assert said.pairs == {frozenset("ab"): 5.0, frozenset("bc"): 25.0}


def test_regions_with_hyphens_can_be_paired() -> None:
    text = GOOD.replace("regions.a", "regions.eu-west")
    text += "[injected_latency]\nround_trip_ms = 10\npairs = {eu-west-b = 30}"
    injected = parse(text, base_dir=BASE).injected_latency
    assert injected is not None and injected.pairs == {frozenset(("eu-west", "b")): 30.0}


def test_the_section_of_the_placement_reads_as_it_is_written() -> None:
    text = "[placement]\n" + UNEQUAL + "[placement.weights]\na = 0\nb = 1.5\nc = 9"
    placement = parse(GOOD + text, base_dir=BASE).placement
    assert placement is not None and placement.weights == {"a": 0.0, "b": 1.5, "c": 9.0}
    assert parse(GOOD + render_placement(placement), base_dir=BASE).placement == placement


_NAMES = st.text("abcäλ01._-", min_size=1, max_size=8)
_SECONDS = st.floats(1e-9, 1e9)
_HOSTS = st.sampled_from(["127.0.0.1", "::1", "node-1.example"])


@st.composite
def _configs(draw: st.DrawFn) -> Config:
    replicas = draw(st.sampled_from([3, 5]))
    # Without hyphens: which two regions "a-b-c" pairs would be anybody's guess.
    regions = draw(
        st.lists(st.text("ab01_.", min_size=1), min_size=replicas, max_size=replicas, unique=True)
    )
    ports = iter(draw(st.permutations(range(7_000, 7_000 + 2 * replicas))))
    heartbeat_s = draw(st.floats(1e-6, 10))
    election_min_s = draw(st.floats(3.01, 50)) * heartbeat_s
    reconnect_min_s = draw(_SECONDS)
    pairs = draw(
        st.dictionaries(
            st.sets(st.sampled_from(regions), min_size=2, max_size=2).map(frozenset),
            st.floats(0, 60_000),
        )
    )
    groups = draw(st.integers(1, 300))
    shares = st.fixed_dictionaries(dict.fromkeys(regions, st.floats(0, 1e9)))
    weights = draw(st.just({}) | shares.filter(lambda shares: any(shares.values())))
    return Config(
        cluster=draw(_NAMES),
        tables=tuple(draw(st.lists(_NAMES, min_size=1, max_size=3, unique=True))),
        nodes=tuple(
            NodeConfig(
                name,
                name,
                peer=Address(draw(_HOSTS), next(ports)),
                client=Address(draw(_HOSTS), next(ports)),
                data_dir=Path("/", draw(st.text("aλ '\"\\", min_size=1)), name),
                peer_listen=draw(st.none() | st.just(Address("0.0.0.0", 7201))),
                client_listen=draw(st.none() | st.just(Address("::", 7101))),
            )
            for name in regions
        ),
        groups=groups,
        replicas=replicas,
        slots=draw(st.integers(groups, 65_536)),
        timeouts=Timeouts(
            heartbeat_s=heartbeat_s,
            election_min_s=election_min_s,
            election_max_s=2 * election_min_s,
            request_s=draw(_SECONDS),
            reconnect_min_s=reconnect_min_s,
            reconnect_max_s=3 * reconnect_min_s,
        ),
        limits=Limits(
            pending_ops_per_group=draw(st.integers(4_096, 10**9)),
            snapshot_chunk_bytes=draw(st.integers(1_024, 4_194_304)),
            watchers=draw(st.integers(1, 10**6)),
            calls=10**6 + 1,
        ),
        injected_latency=draw(
            st.none() | st.builds(InjectedLatency, st.floats(0, 60_000), st.just(pairs))
        ),
        placement=draw(
            st.none() | st.builds(Placement, st.floats(0, 60_000), st.just(pairs), st.just(weights))
        ),
        log_level=draw(st.sampled_from(["debug", "info", "warning", "error"])),
        log_format=draw(st.sampled_from(["json", "text"])),
    )


@given(_configs())
def test_what_is_rendered_parses_to_the_same(config: Config) -> None:
    assert parse(render(config), base_dir=Path("/elsewhere")) == config


def test_a_cluster_that_was_recovered_is_told_from_the_one_before_it() -> None:
    before = parse(GOOD, base_dir=BASE)
    after = parse(f'cluster_id = "0a1b"\n{GOOD}', base_dir=BASE)
    assert before.cluster_id == "" and before.fence == before.cluster
    assert after.fence == f"{before.cluster}/0a1b" and after.topology() == before.topology()
    assert parse(render(after), base_dir=BASE) == after
    with pytest.raises(ConfigError, match="cluster_id"):
        parse(f'cluster_id = "a/b"\n{GOOD}', base_dir=BASE)


def test_geos_and_leaders_are_rendered_and_read_back() -> None:
    text = GOOD + (
        "[groups]\nleader = 'b'\n"
        "[geos.eu]\nregions = ['a', 'b', 'c']\ntables = ['eu.*', 'im.session']\nleader = 'c'\n"
        "[geos.us]\nregions = ['c', 'b', 'a']\ntables = ['us.*']\ngroups = 2\n"
    )
    config = parse(text, base_dir=BASE)
    eu, us = config.geos
    assert (eu.geo.name, eu.geo.regions, eu.groups, eu.leader) == ("eu", ("a", "b", "c"), 3, "c")
    assert (us.geo.tables, us.groups, us.leader) == (("us.*",), 2, "")
    assert config.leader_regions() == {"": "b", "eu": "c"} and config.groups_in_all == 8
    assert parse(render(config), base_dir=BASE) == config
    topology = config.topology()
    assert [group.geo for group in topology.groups] == [""] * 3 + ["eu"] * 3 + ["us"] * 2
    assert [group.preferred for group in topology.groups[:6]] == [*"bbbccc"]
