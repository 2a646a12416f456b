"""What `globaltable cert` makes: a set that works, private keys, and nothing overwritten."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

from globaltable.admin.certificates import Authority, Pair, make_set, pair_of
from globaltable.cli.main import run
from globaltable.errors import ConfigError
from globaltable.server.config import Address, Config, NodeConfig
from globaltable.server.config_file import load, render
from globaltable.server.identities import Identity, Kind
from globaltable.server.tls import certificates_of


def _config(directory: Path, host: str = "10.0.0.1") -> Config:
    nodes = (("a", host), ("b", "node-b.example"), ("c", "0.0.0.0"))
    return Config(
        "im",
        ("t",),
        tuple(
            NodeConfig(name, name, Address(at, 2 * i + 1), Address(at, 2 * i + 2), directory / name)
            for i, (name, at) in enumerate(nodes)
        ),
    )


def _certificate(files: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(files.cert.read_bytes())


def _names(files: Pair) -> list[str]:
    found = _certificate(files).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(name.value) for name in found.value]


def _purposes(files: Pair) -> set[object]:
    found = _certificate(files).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    return set(found.value)


def test_each_says_whose_it_is_where_it_is_reached_and_what_for(tmp_path: Path) -> None:
    made = make_set(tmp_path, _config(tmp_path), ["web"], hosts=["lb.example"], days=30)
    assert [(str(one.identity), one.is_new) for one in made] == [
        ("node a", True),
        ("node b", True),
        ("node c", True),
        ("client web", True),
    ]
    a, b, c, web = (one.files for one in made)
    loopback = {"localhost", "127.0.0.1", "::1"}
    assert set(_names(a)) == {"globaltable://im/node/a", "lb.example", "10.0.0.1", *loopback}
    assert set(_names(b)) >= {"globaltable://im/node/b", "node-b.example"}
    assert "0.0.0.0" not in _names(c)
    assert _names(web) == ["globaltable://im/client/web"]
    assert _purposes(a) == {Purpose.CLIENT_AUTH, Purpose.SERVER_AUTH}
    assert _purposes(web) == {Purpose.CLIENT_AUTH}
    left = _certificate(web).not_valid_after_utc - _certificate(web).not_valid_before_utc
    assert 30 <= left.total_seconds() / 86_400 < 30.1


def test_keys_are_for_their_owners_eyes(tmp_path: Path) -> None:
    make_set(tmp_path, _config(tmp_path), ["web"])
    keys = list(tmp_path.glob("*-key.pem"))
    assert len(keys) == 5
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    assert not list(tmp_path.glob(".*")), "nothing half-made is left"


def test_what_is_there_stays_unless_it_is_to_be_renewed_and_the_ca_stays(tmp_path: Path) -> None:
    config = _config(tmp_path)
    make_set(tmp_path, config, ["web"])
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.pem")}
    made = make_set(tmp_path, config, ["web", "op"])
    assert [str(one.identity) for one in made if one.is_new] == ["client op"]
    make_set(tmp_path, config, ["web"], renew=True)
    after = {path.name: path.read_bytes() for path in tmp_path.glob("*.pem")}
    unchanged = {name for name in before if before[name] == after[name]}
    assert unchanged == {"ca.pem", "ca-key.pem"}


def test_a_ca_without_its_key_is_not_made_anew(tmp_path: Path) -> None:
    """It would be another, and nobody would believe what it signs."""
    make_set(tmp_path, _config(tmp_path), ["web"])
    pair_of(tmp_path, "ca").key.unlink()
    with pytest.raises(ConfigError, match="are no CA's certificate and key"):
        make_set(tmp_path, _config(tmp_path), ["op"])
    other = tmp_path / "other"
    Authority.open(other, "im")
    pair_of(other, "ca").key.replace(pair_of(tmp_path, "ca").key)
    with pytest.raises(ConfigError, match=r"is not the key of .*ca\.pem"):
        make_set(tmp_path, _config(tmp_path), ["op"])


def test_a_host_that_is_none_is_named(tmp_path: Path) -> None:
    authority = Authority.make("im")
    with pytest.raises(ConfigError, match="host '北京' is no IP address"):
        authority.issue(pair_of(tmp_path, "a"), Identity("im", Kind.NODE, "a"), ["北京"])


class TestTheCommand:
    def _file(self, tmp_path: Path) -> Path:
        file = tmp_path / "c.toml"
        file.write_text(render(_config(tmp_path)))
        return file

    def test_prints_what_to_put_into_the_file_and_that_works(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = self._file(tmp_path)
        assert run(["node", "-c", str(file), "-n", "a", "--check"]) == 2, "it is in the clear"
        words = ["--client", "web", "--client", "admin"]
        assert run(["cert", str(tmp_path / "tls"), "-c", str(file), *words]) == 0
        printed = capsys.readouterr().out
        section = printed[printed.index("[tls]") : printed.index("Clients show")]
        file.write_text(file.read_text() + section)
        assert run(["node", "-c", str(file), "-n", "a", "--check"]) == 0
        config = load(file)
        for node in config.nodes:
            assert certificates_of(config, node.name) is not None
        assert {name for one in config.security.permissions for name in one.clients} == {
            "web",
            "admin",
        }
        assert f"GLOBALTABLE_CERT={tmp_path}/tls/client-web.pem" in printed

    @pytest.mark.parametrize(
        ("words", "why"),
        [(["--days", "0"], "number of days"), (["--client", "we b"], "use up to 64 letters")],
    )
    def test_what_is_wrong_is_said_and_nothing_is_made(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str
    ) -> None:
        file = self._file(tmp_path)
        assert run(["cert", str(tmp_path / "tls"), "-c", str(file), *words]) == 2
        assert why in capsys.readouterr().err
        assert not (tmp_path / "tls").exists()
