"""The settings of what a node tells of itself: taken, refused by name, and rendered to the same."""

from pathlib import Path

import pytest

from globaltable.errors import ConfigError
from globaltable.server.config import Address, Config, ConsoleConfig
from globaltable.server.config_file import parse, render

PLAIN = """
cluster = "im"
tables = ["im.session"]
[regions.a]
peer = "127.0.0.1:7201"
client = "127.0.0.1:7101"
{more}
[regions.b]
peer = "127.0.0.1:7202"
client = "127.0.0.1:7102"
[regions.c]
peer = "127.0.0.1:7203"
client = "127.0.0.1:7103"
"""


def _config(own: str = "", rest: str = "") -> Config:
    return parse(PLAIN.format(more=own) + rest, base_dir=Path("/"))


def test_by_default_a_node_tells_nobody_over_http_and_logs_slow_ops() -> None:
    config = _config()
    assert config.node("a").metrics is None
    assert config.node("a").console is None
    assert config.console == ConsoleConfig(target_ms=20.0, hosts=())
    assert (config.log_requests, config.log_slow_op_ms) == (False, 1000.0)
    assert config.tracing_exporter == ""


def test_settings_are_rendered_to_what_they_were() -> None:
    config = _config(
        'metrics = "127.0.0.1:7301"\nconsole = "127.0.0.1:7401"',
        '[console]\ntarget_ms = 35.5\nhosts = ["console.example"]\n'
        '[log]\nrequests = true\nslow_op_ms = 250\n[tracing]\nexporter = "otlp"\n',
    )
    assert config.node("a").metrics == Address("127.0.0.1", 7301)
    assert config.node("a").console == Address("127.0.0.1", 7401)
    assert config.console == ConsoleConfig(35.5, ("console.example",))
    assert (config.log_requests, config.log_slow_op_ms) == (True, 250.0)
    assert config.tracing_exporter == "otlp"
    assert parse(render(config), base_dir=Path("/")) == config


@pytest.mark.parametrize(
    ("own", "rest", "named"),
    [
        ('metrics = "nowhere"', "", "metrics"),
        ('metrics = "127.0.0.1:7101"', "", "127.0.0.1:7101"),
        ('console = "127.0.0.1:7201"', "", "127.0.0.1:7201 is console"),
        ('metrics = "127.0.0.1:7"\nconsole = "127.0.0.1:7"', "", "127.0.0.1:7 is console"),
        ("", "[console]\ntarget_ms = 0\n", "console.target_ms = 0"),
        ("", "[console]\nlisten = 1\n", "console.listen"),
        ("", '[console]\nhosts = ["*"]\n', "console.hosts: '*'"),
        ("", '[console]\nhosts = ["a:1"]\n', "console.hosts: 'a:1'"),
        ("", "[log]\nrequests = 1\n", "log.requests = 1"),
        ("", "[log]\nslow_op_ms = -1\n", "log.slow_op_ms = -1"),
        ("", "[tracing]\nexporter = 3\n", "tracing.exporter"),
        ("", "[tracing]\nsample = 0.5\n", "tracing.sample"),
    ],
)
def test_what_cannot_be_is_refused_by_name(own: str, rest: str, named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        _config(own, rest)
    assert named in str(refused.value)
