"""What a client is told once is checked where it is told, by name and value."""

from typing import Any

import pytest

from globaltable import limits
from globaltable.client._settings import (
    ATTEMPT_TIMEOUT_S_DEFAULT,
    PENDING_MAX_DEFAULT,
    TIMEOUT_S_DEFAULT,
    USE_CLIENT_DEFAULT,
    ClientClosed,
    Settings,
    addresses_of,
    require_timeout,
)
from globaltable.errors import GlobalTableError, InvalidArgument, LimitExceeded, Unavailable
from tests.client.desk import TABLE


class TestAddresses:
    @pytest.mark.parametrize(
        "address",
        ["127.0.0.1:7101", "node.example:1", "node.example:65535", "[::1]:7101", "a:007"],
    )
    def test_host_and_port(self, address: str) -> None:
        assert Settings((address,), TABLE).addresses == (address,)

    @pytest.mark.parametrize(
        "address",
        [
            *(
                "",
                ":",
                "a",
                "a:",
                ":7101",
                "a:0",
                "a:65536",
                "a:-1",
                "a:+1",
                "a: 1",
                "a:1_0",
                "a:x",
            ),
            # Digits, but none that a port is written in.
            *("a:١", "a:²"),
        ],
    )
    def test_anything_else_is_refused_by_its_own_name(self, address: str) -> None:
        with pytest.raises(InvalidArgument) as refused:
            Settings(("b:1", address), TABLE)
        assert repr(address) in str(refused.value)

    @pytest.mark.parametrize("address", [None, 7101, b"a:1", ("a", 1)])
    def test_so_is_what_is_no_string(self, address: Any) -> None:
        with pytest.raises(InvalidArgument, match="'host:port'"):
            Settings((address,), TABLE)

    def test_none_at_all(self) -> None:
        with pytest.raises(InvalidArgument, match="addresses is empty"):
            Settings((), TABLE)

    def test_one_given_twice(self) -> None:
        with pytest.raises(InvalidArgument, match="given twice"):
            Settings(("a:1", "b:1", "a:1"), TABLE)

    def test_one_bare_string_is_a_mistake_worth_naming(self) -> None:
        with pytest.raises(InvalidArgument, match="must be a list of 'host:port', not 'a:1'"):
            addresses_of("a:1")

    def test_any_iterable_of_them_in_its_order(self) -> None:
        assert addresses_of(name for name in ("b:1", "a:1")) == ("b:1", "a:1")


_NO_SPAN = [0, -1, -0.5, float("nan"), float("inf"), float("-inf")]
_TOO_LONG = [1e9 + 1, 1e308, 2**63, 10**400]
"""More than a thread can wait for; the last is not even a float."""
_NO_NUMBER = [True, False, "5", b"5", [5], USE_CLIENT_DEFAULT]


def _shown(value: object) -> str:
    return repr(value)[:20]


class TestTimeouts:
    @pytest.mark.parametrize("timeout", [None, 1, 0.001, 1e9])
    def test_a_span_or_none(self, timeout: float | None) -> None:
        require_timeout("timeout", timeout)
        assert Settings(("a:1",), TABLE, timeout_s=timeout).timeout_s == timeout

    @pytest.mark.parametrize(
        "timeout", _NO_SPAN + _TOO_LONG + _NO_NUMBER, ids=lambda value: repr(value)[:20]
    )
    @pytest.mark.parametrize("name", ["timeout", "attempt_timeout"])
    def test_anything_else_is_refused_by_name_and_value(self, name: str, timeout: Any) -> None:
        with pytest.raises(InvalidArgument) as refused:
            Settings(("a:1",), TABLE, **{f"{name}_s": timeout})
        assert str(refused.value).startswith(f"{name} must be ")
        assert repr(timeout) in str(refused.value)

    def test_an_attempt_has_one(self) -> None:
        with pytest.raises(InvalidArgument, match="attempt_timeout must be seconds, not None"):
            Settings(("a:1",), TABLE, attempt_timeout_s=None)  # type: ignore[arg-type]


class TestBounds:
    @pytest.mark.parametrize("pending_max", [0, -1, True, 1.5, "1", None], ids=repr)
    def test_pending_max_is_a_count(self, pending_max: Any) -> None:
        with pytest.raises(InvalidArgument, match=r"^pending_max must be ") as refused:
            Settings(("a:1",), TABLE, pending_max=pending_max)
        assert str(pending_max) in str(refused.value)

    @pytest.mark.parametrize("table", ["", "im session", "im/session", "a\0b", None, b"im"])
    def test_a_table_has_a_name_that_can_be_one(self, table: Any) -> None:
        with pytest.raises(InvalidArgument, match=r"^table "):
            Settings(("a:1",), table)

    def test_a_table_has_a_name_of_bounded_length(self) -> None:
        Settings(("a:1",), "t" * limits.TABLE_BYTES_MAX)
        with pytest.raises(LimitExceeded):
            Settings(("a:1",), "t" * (limits.TABLE_BYTES_MAX + 1))


def test_what_is_not_given_has_a_default() -> None:
    assert Settings(("a:1",), TABLE) == Settings(
        ("a:1",), TABLE, TIMEOUT_S_DEFAULT, ATTEMPT_TIMEOUT_S_DEFAULT, PENDING_MAX_DEFAULT
    )
    assert 0 < ATTEMPT_TIMEOUT_S_DEFAULT < TIMEOUT_S_DEFAULT, "there is time for a second attempt"


def test_a_closed_client_is_a_misuse_and_no_outage() -> None:
    """`except Unavailable` retries; that would never help here."""
    assert issubclass(ClientClosed, GlobalTableError)
    assert issubclass(ClientClosed, RuntimeError)
    assert not issubclass(ClientClosed, Unavailable)
