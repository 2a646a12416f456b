"""The routing configuration: what it declares, and what is refused, by setting and value."""

import re
from pathlib import Path

import pytest

import globaltable
from globaltable.errors import ConfigError, InvalidArgument
from globaltable.routing.config import Bound, Layer, Nearest, Static, Unreachable, load, parse

EXAMPLE = Path(globaltable.__file__).parent.parent / "routing.example.toml"
LEAST = """
namespace = "test"
endpoints = ["127.0.0.1:7101"]
[units.A]
region = "bj"
[dimensions.chat]
layer = "L2"
table = "routing.chat"
policy = "new"
[policies]
new = { weighted = {} }
"""


def test_the_example_declares_a_dimension_of_each_layer() -> None:
    config = load(EXAMPLE)
    assert [one.layer for one in config.dimensions.values()] == [Layer.L0, Layer.L1, Layer.L2]
    assert isinstance(config.dimension("edge"), Nearest)
    assert isinstance(config.dimension("user"), Static)
    chat = config.dimension("chat")
    assert isinstance(chat, Bound)
    assert (chat.ttl_s, chat.grace_s, chat.unreachable) == (300.0, 86400.0, Unreachable.REFUSE)
    assert config.tables == ("routing.chat", "routing.meta")
    assert config.fleet.distances.between_ms("shenzhen", "beijing") == 36.0


def test_a_dimension_that_there_is_not_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidArgument, match="'chats' is no dimension; those there are: chat"):
        parse(LEAST).dimension("chats")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("namespace", "namespaces", "namespace is missing"),
        ('["127.0.0.1:7101"]', "[]", "endpoints = []: give a list"),
        ('[units.A]\nregion = "bj"', "", "there are no units"),
        ('region = "bj"', 'region = ""', "units.A.region = '': give a string"),
        ('region = "bj"', 'region = "bj"\ncapacity = 0', "units.A.capacity = 0: give a number"),
        ('region = "bj"', 'region = "bj"\nregon = "x"', "units.A.regon is not a known setting"),
        ('region = "bj"', 'region = "bj"\ntags = "vip"', "units.A.tags = 'vip': give a list"),
        ("units.A]", f"units.{'A' * 65}]", "unit is 65 bytes long; at most 64"),
        ('"L2"', '"L3"', "dimensions.chat.layer = 'L3': give one of L0, L1, L2"),
        ('"routing.chat"', '"a b"', "dimensions.chat.table: table 'a b' may hold"),
        ('"routing.chat"', '"routing.meta"', "table = 'routing.meta' is meta_table already"),
        (
            'policy = "new"',
            'policy = "old"',
            "dimensions.chat.policy = 'old' is no policy; those there",
        ),
        ('policy = "new"', 'policy = "new"\nttl_s = 0', "dimensions.chat.ttl_s = 0: give a number"),
        (
            'policy = "new"',
            'policy = "new"\nunreachable = "maybe"',
            "unreachable = 'maybe': give one of refuse, provisional",
        ),
        ("{ weighted = {} }", '{ unit = "Z" }', "policies.new: unit = 'Z' is no unit"),
        ("{ weighted = {} }", '{ home = "user" }', "home = 'user' is no dimension of layer L1"),
        ("[policies]", "[distances.pairs.bj]\nbj = 3\n[policies]", "distances.pairs.bj.bj: give"),
        (
            "[policies]",
            "[distances.pairs]\nbj.sh = 3\nsh.bj = 3\n[policies]",
            "distances.pairs.sh.bj: give each pair",
        ),
        ("[policies]", "[probes]\nfailures = 0\n[policies]", "probes.failures = 0: give a whole"),
        ("[policies]", "[polices]\n[policies]", "polices is not a known setting"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, message: str) -> None:
    assert old in LEAST
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse(LEAST.replace(old, new, 1))


RULES = '\n[dimensions.user]\nlayer = "L1"\nrules = [%s]\n'


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("", "dimensions.user.rules = []: give a list of rules"),
        ("{}", "dimensions.user.rules[0].by is missing"),
        ('{ by = "luck" }', "rules[0].by = 'luck': give one of hash, range, segment, table"),
        ('{ by = "hash" }', "rules[0].weights is missing: give each unit"),
        ('{ by = "hash", weights = { Z = 1 } }', "rules[0].weights = 'Z' is no unit"),
        ('{ by = "hash", weights = { A = 0 } }', "rules[0].weights.A = 0: give a number"),
        ('{ by = "table", units = { x = "Z" } }', "rules[0].units.x = 'Z' is no unit"),
        ('{ by = "segment", separator = "." }', "rules[0].position is missing"),
        ('{ by = "range", ranges = [] }', "rules[0].ranges = []: give a list"),
        (
            '{ by = "range", ranges = [{ unit = "A" }, { unit = "A" }] }',
            "ranges[0].below is missing: only the last",
        ),
        (
            '{ by = "range", ranges = [{ below = 5, unit = "A" }, { below = 5, unit = "A" }] }',
            "ranges[1].below = 5: must be above 5",
        ),
    ],
)
def test_what_is_wrong_with_a_rule_is_named(rule: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse(LEAST + RULES % rule)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "routing.toml"
    with pytest.raises(ConfigError, match=r"routing\.toml cannot be read"):
        load(file)
    file.write_text("namespace = 7")
    with pytest.raises(ConfigError, match=r"routing\.toml: namespace = 7: give a string"):
        load(file)


def test_files_of_certificates_are_taken_from_beside_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "routing.toml"
    tls = 'ca = "ca.pem"\ncert = "c.pem"\nkey = "/keys/k.pem"\n'
    file.write_text(f'{LEAST}[tls]\n{tls}[listening]\n{tls}admins = ["uri:ops"]\n')
    config = load(file)
    files = (tmp_path / "ca.pem", tmp_path / "c.pem", Path("/keys/k.pem"))
    assert config.tls == files
    assert config.listening == (files, frozenset(["uri:ops"]), False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[tls]\nca = "ca.pem"', "tls.cert is missing"),
        ('[tls]\ncart = "c"', "tls.cart is not a known setting; known here: ca, cert, key"),
        ('[listening]\nadmins = ["x"]', "listening.admins: without ca, cert and key nobody"),
        ("[listening]\nadmins = 3", "listening.admins = 3: give a list"),
        ("[listening]\nplaintext_beyond_loopback = 1", "_loopback = 1: give true or false"),
    ],
)
def test_what_is_wrong_with_certificates_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse(LEAST + text)
