"""The sections on security parse to what they say, and what protects nothing is refused."""

from pathlib import Path

import pytest

from globaltable.errors import ConfigError
from globaltable.server.config_file import parse, render
from globaltable.server.security import (
    Allowance,
    AuditFiles,
    Permission,
    Right,
    Security,
    TlsFiles,
)

BASE = """
cluster = "im"
tables = ["im.session", "doc"]
[regions.a]
peer = "127.0.0.1:1"
client = "127.0.0.1:2"
[regions.b]
peer = "127.0.0.1:3"
client = "127.0.0.1:4"
[regions.c]
peer = "127.0.0.1:5"
client = "127.0.0.1:6"
"""
TLS = """
[tls]
ca = "tls/ca.pem"
cert = "tls/node-{node}.pem"
key = "/keys/{node}.pem"
revoked = "tls/revoked.txt"
connection_age_s = 60
"""
ALL = (
    TLS
    + """
[[permissions]]
clients = ["web", "app"]
rights = ["read", "bind"]
tables = ["im.session"]
[[permissions]]
clients = ["*"]
rights = ["read"]
tables = ["*"]
[[permissions]]
clients = ["op"]
rights = ["admin"]
[clients."*"]
ops_per_s = 1000
[clients.web]
ops_per_s = 0.5
burst_ops = 7
calls = 8
watches = 9
[tokens.keys]
k1 = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
[audit]
directory = "audit"
file_bytes_max = 100000
files = 3
"""
)


def test_all_of_it_and_back() -> None:
    config = parse(BASE + ALL, base_dir=Path("/etc/gt"))
    assert config.security == Security(
        tls=TlsFiles(
            Path("/etc/gt/tls/ca.pem"),
            Path("/etc/gt/tls/node-{node}.pem"),
            Path("/keys/{node}.pem"),
            Path("/etc/gt/tls/revoked.txt"),
        ),
        connection_age_s=60.0,
        permissions=(
            Permission(("web", "app"), frozenset((Right.READ, Right.BIND)), ("im.session",)),
            Permission(("*",), frozenset((Right.READ,)), ("*",)),
            Permission(("op",), frozenset((Right.ADMIN,))),
        ),
        allowances={"*": Allowance(ops_per_s=1000.0), "web": Allowance(0.5, 7, 8, 9)},
        token_keys={
            "k1": bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
        },
        audit=AuditFiles(Path("/etc/gt/audit"), 100_000, 3),
    )
    assert parse(render(config), base_dir=Path("/elsewhere")) == config


def test_each_node_reads_its_own_files() -> None:
    tls = parse(BASE + TLS, base_dir=Path("/etc/gt")).security.tls
    assert tls is not None
    assert tls.of("b") == TlsFiles(
        Path("/etc/gt/tls/ca.pem"),
        Path("/etc/gt/tls/node-b.pem"),
        Path("/keys/b.pem"),
        Path("/etc/gt/tls/revoked.txt"),
    )


def test_without_a_word_on_it_there_is_none() -> None:
    config = parse(BASE, base_dir=Path("/"))
    assert config.security == Security()
    assert "[tls]" not in render(config)


def test_in_the_clear_in_so_many_words() -> None:
    text = BASE + "[tls]\nplaintext_beyond_loopback = true\n"
    config = parse(text, base_dir=Path("/"))
    assert config.security == Security(plaintext_beyond_loopback=True)
    assert parse(render(config), base_dir=Path("/")) == config


@pytest.mark.parametrize("section", ["[audit]\n", '[audit]\ndirectory = "/var/log/gt"\n'])
def test_an_audit_log_takes_no_certificates_if_it_is_asked_for(section: str) -> None:
    config = parse(BASE + section, base_dir=Path("/"))
    assert config.security.audits_in_the_clear and config.security.tls is None
    assert parse(render(config), base_dir=Path("/")) == config
    secured = parse(BASE + TLS + section, base_dir=Path("/"))
    assert not secured.security.audits_in_the_clear, "it is written anyway"
    assert parse(render(secured), base_dir=Path("/")) == secured


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[tls]\nca = "x"\n', r"tls\.cert is missing"),
        (TLS + "plaintext_beyond_loopback = true\n", "nothing is in the clear"),
        ("[tls]\nplaintext_beyond_loopback = 1\n", "give true or false"),
        (TLS.replace("60", "1e6"), "at most a week, 604800"),
        ("[tls]\nconnection_age_s = 60\n", "without ca, cert and key"),
        (TLS.replace("60", "0"), "give a number of seconds above 0"),
        (TLS + 'password = "secret"\n', r"tls\.password is not a known setting"),
        ('[[permissions]]\nclients = ["web"]\n', r"\[permissions\] without \[tls\]"),
        ("[clients.web]\ncalls = 1\n", r"\[clients\] without \[tls\]"),
        (TLS + '[permissions]\nclients = ["web"]\n', r"write \[\[permissions\]\]"),
        (TLS + '[[permissions]]\nrights = ["read"]\ntables = ["doc"]\n', "clients is missing"),
        (TLS + '[[permissions]]\nclients = ["web"]\nrights = ["read"]\n', "tables is missing"),
        (
            TLS + '[[permissions]]\nclients = ["web"]\nrights = ["write"]\ntables = ["*"]\n',
            "give a list of some of read, bind, move, admin",
        ),
        (
            TLS + '[[permissions]]\nclients = ["web"]\nrights = ["read"]\ntables = ["nosuch"]\n',
            "'nosuch' is not one of the cluster's, im.session, doc",
        ),
        (
            TLS + '[[permissions]]\nclients = ["web"]\nrights = ["admin"]\ntables = ["doc"]\n',
            "knows no tables",
        ),
        (
            TLS + '[[permissions]]\nclients = ["we b"]\nrights = ["admin"]\n',
            "use up to 64 letters",
        ),
        (
            TLS + '[[permissions]]\nclients = []\nrights = ["admin"]\n',
            "give a list of client names",
        ),
        (TLS + "[clients.web]\nops_per_s = 0\n", "give a number above 0"),
        (TLS + "[clients.web]\nburst_ops = 10\n", "without ops_per_s bounds nothing"),
        (TLS + "[clients.web]\nops = 10\n", r"clients\.web\.ops is not a known setting"),
        (TLS + "[audit]\nfile_bytes_max = 10\n", "give at least 65536"),
        ('[tokens.keys]\nk1 = "x"\n', r"\[tokens\] without \[tls\]"),
        (TLS + '[tokens.keys]\nk1 = "x"\n', "give the 32 bytes of a public key of Ed25519"),
        (TLS + '[tokens.keys]\nk1 = "11qYAYKx"\n', "give the 32 bytes of a public key of Ed25519"),
        (TLS + "[tokens.keys]\nk1 = 1\n", "give the 32 bytes of a public key of Ed25519"),
        (TLS + '[tokens]\nk1 = "x"\n', r"tokens\.k1 is not a known setting"),
        (TLS + '[tokens.keys]\n"k 1" = "x"\n', "use up to 64 letters"),
        (TLS + "[audit]\nfiles = 1\n", "give between 2 and 10000"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse(BASE + text, base_dir=Path("/"))


def test_where_tokens_are_taken_is_a_port_of_its_own_over_tls() -> None:
    with_tokens = BASE.replace("client =", 'tokens = "127.0.0.1:9"\nclient =', 1)
    config = parse(with_tokens + TLS, base_dir=Path("/etc/gt"))
    assert str(config.node("a").tokens) == "127.0.0.1:9" and config.node("b").tokens is None
    assert parse(render(config), base_dir=Path("/elsewhere")) == config
    with pytest.raises(ConfigError, match=r"tokens = '127\.0\.0\.1:9' without \[tls\]"):
        parse(with_tokens, base_dir=Path("/"))
    with pytest.raises(ConfigError, match="is tokens, and another port already"):
        parse(with_tokens.replace(":9", ":2") + TLS, base_dir=Path("/"))
