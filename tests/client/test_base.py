"""What both clients share: arguments are checked before anything is sent, and the two are twins."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import globaltable.client
from globaltable import limits
from globaltable.client import GlobalTable, SyncGlobalTable, SyncWatch, Watch
from globaltable.errors import InvalidArgument, LimitExceeded
from tests.client.asking import ASKING
from tests.client.desk import TABLE

ADDRESSES = ["a:1", "b:1"]

_LONG_KEY = "λ" * (limits.KEY_BYTES_MAX // 2) + "k"
_LONG_UNIT = "u" * (limits.UNIT_BYTES_MAX + 1)

# What no text can be | the error | what it says.
BAD_TEXTS: dict[str, tuple[Any, type[InvalidArgument], str]] = {
    "empty": ("", InvalidArgument, "is empty"),
    "none": (None, InvalidArgument, "must be a string, not NoneType"),
    "bytes": (b"k", InvalidArgument, "must be a string, not bytes"),
    "a number": (7, InvalidArgument, "must be a string, not int"),
    "half a surrogate": ("\ud800", InvalidArgument, "is not valid Unicode"),
}
BAD_KEYS = BAD_TEXTS | {"over-long": (_LONG_KEY, LimitExceeded, "is 257 bytes long")}
BAD_UNITS = BAD_TEXTS | {"over-long": (_LONG_UNIT, LimitExceeded, "is 65 bytes long")}
BAD_VERSIONS: list[tuple[Any, str]] = [
    (0, "version 0 is out of range"),
    (-1, "version -1 is out of range"),
    (limits.VERSION_MAX + 1, f"version {2**63} is out of range"),
    (True, "version must be an int, not bool"),
    (1.0, "version must be an int, not float"),
    ("1", "version must be an int, not str"),
    (None, "version must be an int, not NoneType"),
]

Asking = Callable[[GlobalTable, Any], Awaitable[object]]
KEYED: dict[str, Asking] = {
    "bind": lambda client, key: client.bind(key, "A"),
    "move": lambda client, key: client.move(key, to="B", version=1),
    "unbind": lambda client, key: client.unbind(key, version=1),
    "get": lambda client, key: client.get(key),
    "get_many": lambda client, key: client.get_many(["k", key]),
}
UNITED: dict[str, Asking] = {
    "bind": lambda client, unit: client.bind("k", unit),
    "move": lambda client, unit: client.move("k", to=unit, version=1),
}
VERSIONED: dict[str, Asking] = {
    "move": lambda client, version: client.move("k", to="B", version=version),
    "unbind": lambda client, version: client.unbind("k", version=version),
}


@pytest.fixture
def client() -> GlobalTable:
    """One that was never opened: whatever is refused was refused before anything could be sent."""
    return GlobalTable.connect(ADDRESSES, table=TABLE)


class TestArguments:
    @pytest.mark.parametrize("method", KEYED)
    @pytest.mark.parametrize("case", BAD_KEYS)
    async def test_a_key_that_can_be_none_is_refused(
        self, client: GlobalTable, method: str, case: str
    ) -> None:
        key, error, words = BAD_KEYS[case]
        with pytest.raises(error, match=words) as refused:
            await KEYED[method](client, key)
        assert type(refused.value) is error and str(refused.value).startswith("key ")

    @pytest.mark.parametrize("method", UNITED)
    @pytest.mark.parametrize("case", BAD_UNITS)
    async def test_a_unit_that_can_be_none_is_refused(
        self, client: GlobalTable, method: str, case: str
    ) -> None:
        unit, error, words = BAD_UNITS[case]
        with pytest.raises(error, match=words) as refused:
            await UNITED[method](client, unit)
        assert type(refused.value) is error and str(refused.value).startswith("unit ")

    @pytest.mark.parametrize("method", VERSIONED)
    @pytest.mark.parametrize(("version", "words"), BAD_VERSIONS)
    async def test_a_version_that_can_be_none_is_refused(
        self, client: GlobalTable, method: str, version: Any, words: str
    ) -> None:
        with pytest.raises(InvalidArgument, match=words):
            await VERSIONED[method](client, version)

    @pytest.mark.parametrize("method", ASKING)
    @pytest.mark.parametrize("timeout", [0, -1, True, "5", float("nan"), float("inf")], ids=repr)
    async def test_a_timeout_that_can_be_none_is_refused_by_every_call(
        self, client: GlobalTable, method: str, timeout: Any
    ) -> None:
        with pytest.raises(InvalidArgument, match=r"^timeout must be "):
            await ASKING[method](client, timeout=timeout)

    async def test_keys_as_one_string_are_a_mistake_worth_naming(self, client: GlobalTable) -> None:
        with pytest.raises(InvalidArgument, match="not one string: 'cid:1'"):
            await client.get_many("cid:1")

    @pytest.mark.parametrize(
        ("page_size", "error"),
        [
            (0, LimitExceeded),
            (-1, LimitExceeded),
            (limits.SCAN_PAGE_MAX + 1, LimitExceeded),
            (True, InvalidArgument),
            (2.0, InvalidArgument),
            ("2", InvalidArgument),
        ],
    )
    async def test_a_page_has_a_size_in_bounds(
        self, client: GlobalTable, page_size: Any, error: type[InvalidArgument]
    ) -> None:
        with pytest.raises(error, match=r"^page_size ") as refused:
            await anext(client.scan(page_size=page_size))
        assert type(refused.value) is error

    @pytest.mark.parametrize("prefix", [None, b"cid:", _LONG_KEY, "\ud800"])
    async def test_a_prefix_is_empty_or_could_be_a_key(
        self, client: GlobalTable, prefix: Any
    ) -> None:
        with pytest.raises(InvalidArgument):
            await anext(client.scan(prefix=prefix))
        with pytest.raises(InvalidArgument):
            client.watch(prefix=prefix)

    async def test_a_status_is_asked_of_a_node_that_was_given(self, client: GlobalTable) -> None:
        with pytest.raises(InvalidArgument, match=r"address 'c:1' is not one of \['a:1', 'b:1'\]"):
            await client.status("c:1")

    async def test_a_client_is_of_a_table_and_of_nodes(self) -> None:
        with pytest.raises(InvalidArgument):
            GlobalTable.connect(ADDRESSES, table="")
        with pytest.raises(InvalidArgument):
            GlobalTable.connect("a:1", table=TABLE)
        with pytest.raises(InvalidArgument):
            SyncGlobalTable.connect([], table=TABLE)


class TestWatchArguments:
    def test_a_key_or_a_prefix_not_both(self, client: GlobalTable) -> None:
        with pytest.raises(InvalidArgument, match="a key or a prefix, not both: 'k', 'cid:'"):
            client.watch(key="k", prefix="cid:")

    @pytest.mark.parametrize("key", ["", _LONG_KEY, 7, b"k"])
    def test_a_key_that_can_be_none_is_refused(self, client: GlobalTable, key: Any) -> None:
        with pytest.raises(InvalidArgument, match=r"^key "):
            client.watch(key=key)

    @pytest.mark.parametrize(
        "after",
        [
            {0: -1},
            {-1: 0},
            {0: True},
            {False: 0},
            {0: 1.0},
            {"0": 1},
            # More than the wire can hold.
            {2**32: 0},
            {0: 2**64},
        ],
        ids=repr,
    )
    def test_a_position_maps_groups_to_revisions(self, client: GlobalTable, after: Any) -> None:
        with pytest.raises(InvalidArgument, match="after must map groups to revisions"):
            client.watch(prefix="", after=after)

    def test_the_largest_of_either_is_none_too_large(self, client: GlobalTable) -> None:
        after = {2**32 - 1: 2**64 - 1, 0: 0}
        watch = client.watch(prefix="", after=after)
        assert watch.position == after
        assert watch._merged.streams[0].request()


class TestWhatIsExported:
    def test_it_is_this(self) -> None:
        assert globaltable.client.__all__ == [
            "USE_CLIENT_DEFAULT",
            "Binding",
            "Change",
            "ChangeKind",
            "ClientClosed",
            "Created",
            "GlobalTable",
            "GroupStatus",
            "PeerStatus",
            "Role",
            "Status",
            "SyncGlobalTable",
            "SyncWatch",
            "TlsConfig",
            "TlsToken",
            "UseClientDefault",
            "Watch",
        ]

    @pytest.mark.parametrize("name", globaltable.client.__all__)
    def test_all_of_it_is_there_and_says_what_it_is(self, name: str) -> None:
        exported = getattr(globaltable.client, name)
        assert not isinstance(exported, type) or exported.__doc__

    def test_a_client_shows_its_table_and_its_nodes(self, client: GlobalTable) -> None:
        assert repr(client) == "<GlobalTable table='im.session' nodes=a:1, b:1>"
        assert client.table == TABLE and client.addresses == ("a:1", "b:1")

    def test_two_clients_are_two(self) -> None:
        """An op's identity begins with its client's."""
        made = {GlobalTable.connect(ADDRESSES, table=TABLE)._client_id for _ in range(100)}
        assert len(made) == 100
        assert all(0 < client_id < 2**63 for client_id in made)


def _public(made: type) -> dict[str, Any]:
    return {name: value for name, value in inspect.getmembers(made) if not name.startswith("_")}


class TestTwins:
    @pytest.mark.parametrize(
        ("asynchronous", "synchronous", "only_asynchronous"),
        # The client for threads is open when it is made.
        [(GlobalTable, SyncGlobalTable, {"open"}), (Watch, SyncWatch, set())],
    )
    def test_they_offer_the_same_with_the_same_parameters(
        self, asynchronous: type, synchronous: type, only_asynchronous: set[str]
    ) -> None:
        ones, others = _public(asynchronous), _public(synchronous)
        assert set(ones) - set(others) == only_asynchronous
        assert set(others) <= set(ones)
        for name in others:
            if callable(others[name]):
                one, other = inspect.signature(ones[name]), inspect.signature(others[name])
                assert one.parameters == other.parameters, name

    @pytest.mark.parametrize("name", sorted(_public(SyncGlobalTable)))
    def test_and_both_say_the_same_of_it(self, name: str) -> None:
        """Or one of them has been changed alone; of `connect` and `watch` they differ in form."""
        one, other = (getattr(made, name).__doc__ for made in (GlobalTable, SyncGlobalTable))
        assert one and other
        if name not in ("connect", "watch"):
            assert one == other
