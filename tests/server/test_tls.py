"""Certificates are taken from files that belong together, and again when these change."""

import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from globaltable.admin.certificates import pair_of
from globaltable.errors import ConfigError
from globaltable.server.config import Address, Config, NodeConfig
from globaltable.server.identities import Identity, Kind
from globaltable.server.security import Security, TlsFiles
from globaltable.server.tls import Certificates, certificates_of
from tests.certificates import Pki

A = Identity("im", Kind.NODE, "a")


def _shown(certificates: Certificates) -> bytes:
    """The chain that the next connection would be shown."""
    return certificates._newest().chain


class TestFiles:
    def test_of_the_node_itself(self, tmp_path: Path) -> None:
        certificates = Certificates(Pki(tmp_path).node("a"), A)
        for context in (certificates.accepting, certificates.dialling):
            assert context.verify_mode is ssl.CERT_REQUIRED
            assert context.minimum_version is ssl.TLSVersion.TLSv1_3

    @pytest.mark.parametrize(
        ("files", "why"),
        [
            (lambda pki: pki.node("b"), "is the certificate of node b, not of node a"),
            (lambda pki: pki.node("a", "other"), "is of cluster 'other', not 'im'"),
            (lambda pki: TlsFiles(*pki.client("a").paths), "of client a, not of node a"),
            (lambda pki: TlsFiles(pki.ca, *pair_of(pki.directory, "ca")), "has 0 URIs"),
            (lambda pki: _mixed(pki.node("a"), pki.node("b")), "no certificate and its key"),
            (lambda pki: _with(pki, "cert", b"no PEM"), "no certificate in PEM"),
            (lambda pki: _with(pki, "key", b"no PEM"), "no certificate and its key in PEM"),
            (lambda pki: _with(pki, "ca", b"no PEM"), "no CA certificates in PEM"),
            (lambda pki: _without(pki, "ca"), "ca.pem cannot be read: No such file"),
            (lambda pki: _without(pki, "key"), "node-a-key.pem cannot be read: No such file"),
        ],
        ids=[
            "another node's", "another cluster's", "a client's", "the CA's", "another key",
            "bad cert", "bad key", "bad CA", "no CA", "no key",
        ],
    )  # fmt: skip
    def test_others_are_refused_with_the_file_and_the_reason(
        self, tmp_path: Path, files: object, why: str
    ) -> None:
        made = files(Pki(tmp_path))  # type: ignore[operator]
        with pytest.raises(ConfigError, match=why) as refused:
            Certificates(made, A)
        assert "PRIVATE" not in str(refused.value)

    def test_a_key_with_a_password_is_refused_not_asked_for(self, tmp_path: Path) -> None:
        from cryptography.hazmat.primitives import serialization as s

        files = Pki(tmp_path).node("a")
        key = s.load_pem_private_key(files.key.read_bytes(), None)
        locked = s.BestAvailableEncryption(b"secret")
        files.key.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, locked))
        with pytest.raises(ConfigError, match="without a password"):
            Certificates(files, A)

    def test_that_it_expires_soon_and_that_others_may_read_the_key_is_said(
        self, tmp_path: Path
    ) -> None:
        files = Pki(tmp_path).node("a", days=2)
        files.key.chmod(0o644)
        with capture_logs() as logs:
            Certificates(files, A)
        assert [(entry["log_level"], entry["event"]) for entry in logs] == [
            ("warning", "certificate loaded"),
            ("warning", "the key can be read by others; chmod 600"),
        ]


class TestRotation:
    def test_new_ones_are_taken_at_the_next_look(self, tmp_path: Path) -> None:
        pki = Pki(tmp_path)
        certificates = Certificates(pki.node("a"), A)
        before, context = _shown(certificates), certificates.accepting
        assert certificates.accepting is context, "files that have not changed are not read"
        pki.node("a")
        assert _shown(certificates) != before
        assert certificates.accepting is not context

    def test_halfway_through_the_earlier_stay_and_that_is_said_once(self, tmp_path: Path) -> None:
        pki = Pki(tmp_path)
        files = pki.node("a")
        certificates = Certificates(files, A)
        before, earlier = _shown(certificates), files.key.read_bytes()
        pki.node("a")
        later = files.key.read_bytes()
        files.key.write_bytes(earlier)
        with capture_logs() as logs:
            assert [_shown(certificates) for _ in range(3)] == [before] * 3
        assert [entry["log_level"] for entry in logs] == ["error"]
        files.key.write_bytes(later)
        assert _shown(certificates) == files.cert.read_bytes() != before

    def test_files_that_are_gone_change_nothing(self, tmp_path: Path) -> None:
        files = Pki(tmp_path).node("a")
        certificates = Certificates(files, A)
        before = _shown(certificates)
        files.cert.unlink()
        with capture_logs() as logs:
            assert [_shown(certificates) for _ in range(3)] == [before] * 3
        assert len(logs) == 1


class TestInTheClear:
    """A node does not listen in the clear where others reach it, unless it is told to."""

    @staticmethod
    def _config(peer: str, client: str, tmp_path: Path, plaintext: bool = False) -> Config:
        node = NodeConfig("a", "a", Address(peer, 1), Address(client, 2), tmp_path)
        return Config("im", ("t",), (node,), security=Security(plaintext_beyond_loopback=plaintext))

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
    def test_on_this_machine_it_does(self, tmp_path: Path, host: str) -> None:
        assert certificates_of(self._config(host, host, tmp_path), "a") is None

    @pytest.mark.parametrize("what", ["metrics", "console"])
    def test_nor_does_it_on_what_else_it_serves(self, tmp_path: Path, what: str) -> None:
        config = self._config("127.0.0.1", "127.0.0.1", tmp_path)
        (node,) = config.nodes
        more: dict[str, Any] = {what: Address("10.0.0.1", 3)}
        config = replace(config, nodes=(replace(node, **more),))
        with pytest.raises(ConfigError, match=f"{what} = '10.0.0.1:3'"):
            certificates_of(config, "a")

    @pytest.mark.parametrize(
        ("peer", "client", "what"),
        [
            ("10.0.0.1", "127.0.0.1", "peer = '10.0.0.1:1'"),
            ("127.0.0.1", "10.0.0.1", "client = '10.0.0.1:2'"),
            ("127.0.0.1", "0.0.0.0", "client = '0.0.0.0:2'"),
            ("127.0.0.1", "::", r"client = '\[::\]:2'"),
            ("127.0.0.1", "::ffff:10.0.0.1", "client ="),
            ("127.0.0.1", "node-a.example", "client = 'node-a.example:2'"),
            ("127.0.0.1", "localhost.example", "client = "),
        ],
    )
    def test_elsewhere_it_refuses_and_says_what_to_do(
        self, tmp_path: Path, peer: str, client: str, what: str
    ) -> None:
        with pytest.raises(ConfigError, match=what) as refused:
            certificates_of(self._config(peer, client, tmp_path), "a")
        assert "globaltable cert" in str(refused.value)
        assert "plaintext_beyond_loopback = true" in str(refused.value)
        told = self._config(peer, client, tmp_path, plaintext=True)
        assert certificates_of(told, "a") is None

    def test_where_it_listens_counts_not_where_it_is_reached(self, tmp_path: Path) -> None:
        reached = NodeConfig(
            "a",
            "a",
            Address("node-a.example", 1),
            Address("node-a.example", 2),
            tmp_path,
            peer_listen=Address("127.0.0.1", 1),
            client_listen=Address("127.0.0.1", 2),
        )
        assert certificates_of(Config("im", ("t",), (reached,)), "a") is None
        open_to_all = replace(reached, peer_listen=Address("0.0.0.0", 1))
        with pytest.raises(ConfigError, match=r"peer = '0\.0\.0\.0:1' without TLS"):
            certificates_of(Config("im", ("t",), (open_to_all,)), "a")


def _mixed(one: TlsFiles, other: TlsFiles) -> TlsFiles:
    return TlsFiles(one.ca, one.cert, other.key)


def _with(pki: Pki, name: str, data: bytes) -> TlsFiles:
    files = pki.node("a")
    getattr(files, name).write_bytes(data)
    return files


def _without(pki: Pki, name: str) -> TlsFiles:
    files = pki.node("a")
    getattr(files, name).unlink()
    return files
