"""Promise: over TLS, on an address of its own, a client may show a token in the place of a
certificate, and has the rights of its name for as long as the token is believed."""

import base64
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from globaltable.admin.tokens import issue
from globaltable.cli.main import run
from globaltable.client import GlobalTable, SyncGlobalTable, TlsConfig, TlsToken
from globaltable.client.tls import open_channel
from globaltable.errors import ConnectFailed, InvalidArgument, PermissionDenied
from globaltable.server.security import Permission, Right, Security
from globaltable.testing import LocalCluster
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc
from tests.cluster.growing import until

pytestmark = [pytest.mark.cluster, pytest.mark.long]

TABLE = "im.session"
KEY, STRANGERS = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
SECURITY = Security(
    permissions=(
        Permission(("web", "other"), frozenset((Right.READ, Right.BIND)), (TABLE,)),
        Permission(("mover",), frozenset((Right.MOVE,)), (TABLE,)),
    ),
    token_keys={"k1": PUBLIC},
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(groups=1, secure=SECURITY) as running:
        yield running


def _ca(cluster: LocalCluster) -> Path:
    return cluster.directory / "tls" / "ca.pem"


def _token(client: str = "web", life_s: float = 600.0, **other: Any) -> str:
    how: dict[str, Any] = {"key": KEY, "key_id": "k1", "audience": "local", **other}
    return issue(how["key"], how["key_id"], client, how["audience"], life_s)


def _connect(cluster: LocalCluster, token: Any, timeout: float = 10.0) -> SyncGlobalTable:
    return SyncGlobalTable.connect(
        cluster.token_addresses.values(),
        table=TABLE,
        timeout=timeout,
        tls=TlsToken(_ca(cluster), token),
    )


async def test_a_token_gives_the_rights_of_its_name_and_no_more(cluster: LocalCluster) -> None:
    token = _token()
    with _connect(cluster, token) as web:
        assert web.bind("k", "A").created
        with pytest.raises(PermissionDenied, match="client web has no right to move"):
            web.move("k", to="B", version=1)
    asked = GlobalTable.connect(
        cluster.token_addresses.values(), table=TABLE, tls=TlsToken(_ca(cluster), lambda: token)
    )
    async with asked as web_too:
        binding = await web_too.get("k", linearizable=True)
        assert binding is not None and binding.unit == "A"
        assert (await web_too.bind("k2", "A")).created
        async with web_too.watch(key="k") as watch:
            assert watch.position
    with _connect(cluster, _token("mover")) as mover:
        assert mover.move("k", to="B", version=1).version == 2


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (lambda: _token(audience="elsewhere"), "is for 'elsewhere', and this is 'local'"),
        (lambda: _token(key=STRANGERS), "is not signed by key 'k1'"),
        (lambda: _token(key_id="k9"), "key 'k9' is none that is known"),
        (lambda: _token()[:-4] + "AAAA", "is not signed|base64url"),
        (lambda: _token(life_s=1.0), "ended"),
        (lambda: "nonsense", "is no JSON|base64url"),
    ],
    ids=["another cluster's", "another key's", "an unknown key's", "changed", "over", "none"],
)
def test_another_is_refused(cluster: LocalCluster, token: Any, why: str) -> None:
    shown = token()
    if "ended" in why:
        time.sleep(2.0)
    with pytest.raises(PermissionDenied, match=why), _connect(cluster, shown, 5.0) as client:
        client.get("k")


def test_without_a_token_or_a_certificate_nobody_is_heard(cluster: LocalCluster) -> None:
    address = cluster.token_addresses["a"]
    link = grpc.ssl_channel_credentials(_ca(cluster).read_bytes())
    with open_channel(address, link) as channel:
        stub: Any = pb_grpc.GlobalTableServiceStub(channel)
        for metadata in ((), (("authorization", "Basic d2Vi"),), (("authorization", "Bearer "),)):
            with pytest.raises(grpc.RpcError) as refused:
                stub.Status(pb.StatusRequest(), timeout=5.0, metadata=metadata)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    # The other address takes no connection without a certificate, whatever token is shown there.
    with (
        pytest.raises(ConnectFailed),
        SyncGlobalTable.connect(
            cluster.addresses.values(),
            table=TABLE,
            timeout=0.5,
            tls=TlsToken(_ca(cluster), _token()),
        ) as client,
    ):
        client.get("k")


def test_beside_a_certificate_no_token_is_looked_at(cluster: LocalCluster) -> None:
    tls = cluster.tls("mover")
    assert tls is not None
    with open_channel(cluster.addresses["a"], tls.credentials()) as channel:
        stub: Any = pb_grpc.GlobalTableServiceStub(channel)
        shown = (("authorization", f"Bearer {_token('web')}"),)
        request = pb.ReadRequest(table=TABLE, keys=["k"])
        with pytest.raises(grpc.RpcError, match="client mover may not call Read"):
            stub.Read(request, timeout=5.0, metadata=shown)


def test_in_the_clear_none_is_sent_and_none_is_believed(cluster: LocalCluster) -> None:
    with pytest.raises(InvalidArgument, match="ca must be the path"):
        TlsToken("", _token())
    call = grpc.metadata_call_credentials(_Plugin(), None)
    with grpc.insecure_channel(cluster.token_addresses["a"]) as channel:
        read = channel.unary_unary("/globaltable.v1.GlobalTableService/Read", None, None)
        with pytest.raises(grpc.RpcError) as refused:
            read(b"", timeout=5.0, credentials=call)
        assert refused.value.code() in (
            grpc.StatusCode.UNAUTHENTICATED,
            grpc.StatusCode.UNAVAILABLE,
        )
    assert not _Plugin.asked, "gRPC puts it on secured connections only"


class _Plugin(grpc.AuthMetadataPlugin):
    asked = False

    def __call__(self, context: Any, callback: Any) -> None:
        _Plugin.asked = True
        callback((("authorization", f"Bearer {_token()}"),), None)


def test_who_renews_its_token_goes_on_over_its_end(cluster: LocalCluster) -> None:
    """On streams that are ended with the token they began with, too; nothing fails of it."""
    shown: list[str] = []

    def fresh() -> str:
        shown.append(_token(life_s=3.0))
        return shown[-1]

    seen: list[str] = []
    with _connect(cluster, fresh) as web:
        watch = web.watch(prefix="renewed:")
        watch.start()
        watching = threading.Thread(
            target=lambda: seen.extend(change.key for change in watch), daemon=True
        )
        watching.start()
        keys: list[str] = []
        deadline = time.monotonic() + 8.0
        while time.monotonic() < deadline:
            keys.append(f"renewed:{len(keys)}")
            assert web.bind(keys[-1], "A", timeout=5.0).created
            time.sleep(0.02)
        until(lambda: len(seen) == len(keys))
        assert seen == keys
        watch.close()
        watching.join()
    assert len(shown) > 2


def test_a_stream_ends_with_the_token_of_who_does_not(cluster: LocalCluster) -> None:
    with _connect(cluster, _token(life_s=4.0)) as web:
        watch = web.watch(prefix="")
        watch.start()
        with pytest.raises(PermissionDenied, match="ended"):
            for _ in watch:
                pass
        with pytest.raises(PermissionDenied, match="ended"):
            web.get("k")


def test_a_function_that_gives_no_token_is_told_its_own_error(cluster: LocalCluster) -> None:
    def none() -> str:
        raise RuntimeError("the issuer is away")

    with pytest.raises(ConnectFailed, match="the issuer is away"):
        _connect(cluster, none, timeout=0.5)


def test_keys_and_names_are_taken_back_without_a_restart(cluster: LocalCluster) -> None:
    second = Ed25519PrivateKey.generate()
    public = second.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    text = cluster.config_path.read_text()
    old, new = (base64.b64encode(raw).decode() for raw in (PUBLIC, public))

    def read(what: str) -> None:
        cluster.config_path.write_text(what)
        for node in cluster.nodes:
            os.kill(cluster.pid(node), signal.SIGHUP)

    def may(client: SyncGlobalTable) -> bool:
        try:
            client.get("k")
        except PermissionDenied:
            return False
        return True

    with (
        _connect(cluster, _token()) as by_old,
        _connect(cluster, _token(key=second, key_id="k2")) as by_new,
        _connect(cluster, _token("other")) as other,
    ):
        assert may(by_old) and not may(by_new)
        read(text.replace("[tokens.keys]", f'[tokens.keys]\nk2 = "{new}"'))
        until(lambda: may(by_new))
        assert may(by_old)
        watch = by_old.watch(prefix="")
        watch.start()
        read(text.replace(f'"k1" = "{old}"', f'k2 = "{new}"'))
        until(lambda: not may(by_old))
        with pytest.raises(PermissionDenied, match="key 'k1' is none that is known"):
            list(watch)
        read(text)
        until(lambda: may(by_old))
        cluster.revoke("globaltable://local/client/web")
        until(lambda: not may(by_old))
        assert may(other)
        cluster.revoke()
        until(lambda: may(by_old))


def test_the_command_makes_what_nodes_believe(
    cluster: LocalCluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key, config = tmp_path / "token-key.pem", str(cluster.config_path)
    words = ["token", str(key), "--config", config, "--client", "web", "--key-id", "made"]
    assert run([*words, "--new-key"]) == 0
    said = capfd.readouterr()
    token = said.out.strip()
    assert key.stat().st_mode & 0o777 == 0o600
    line = next(line for line in said.err.splitlines() if line.startswith("made = "))
    assert run(words) == 0
    assert "has no key 'made'" in capfd.readouterr().err
    assert run([*words, "--new-key"]) == 2, "it is there already"
    text = cluster.config_path.read_text()
    cluster.config_path.write_text(text.replace("[tokens.keys]", f"[tokens.keys]\n{line}"))
    for node in cluster.nodes:
        os.kill(cluster.pid(node), signal.SIGHUP)

    def believed() -> bool:
        try:
            with _connect(cluster, token) as web:
                return web.get("k") is not None
        except PermissionDenied:
            return False

    until(believed)
    capfd.readouterr()
    assert run(words) == 0
    assert capfd.readouterr().err == ""
    cluster.config_path.write_text(text)


def test_no_token_is_in_any_log_or_error(cluster: LocalCluster) -> None:
    tokens = [_token(), _token(key=STRANGERS), _token(audience="elsewhere")]
    told: list[str] = []
    for token in tokens:
        shown = TlsToken(_ca(cluster), token)
        assert token not in repr(shown)
        try:
            with _connect(cluster, token, 5.0) as client:
                client.get("k")
        except PermissionDenied as error:
            told.append(str(error))
    assert len(told) == 2 and not any(token in text for token in tokens for text in told)
    written = "".join(cluster.log_path(node).read_text() for node in cluster.nodes)
    for node in cluster.nodes:
        for path in (cluster.data_dir(node) / "audit").iterdir():
            written += path.read_text()
    for token in tokens:
        assert not any(part in written for part in token.split(".")[1:])


def test_the_library_needs_no_more_than_grpc_for_it() -> None:
    code = "import sys, globaltable.client; assert 'cryptography' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_both_are_no_certificate(cluster: LocalCluster) -> None:
    tls = cluster.tls("web")
    assert isinstance(tls, TlsConfig)
    with pytest.raises(InvalidArgument, match="token must be a token"):
        TlsToken(_ca(cluster), "")
