"""The plain values: every value that is none is refused with a typed error that names it."""

from typing import Any

import pytest

from globaltable import limits
from globaltable.errors import InvalidArgument, LimitExceeded, Rejected
from globaltable.model import qualified_name, split_name
from globaltable.validation import require_key, require_table, require_unit, require_version

REQUIRE = {"table": require_table, "key": require_key, "unit": require_unit}
BYTES_MAX = {
    "table": limits.TABLE_BYTES_MAX,
    "key": limits.KEY_BYTES_MAX,
    "unit": limits.UNIT_BYTES_MAX,
}
BAD_TEXTS = {
    "empty": "",
    "half of a surrogate pair": "a\ud800",
    "bytes": b"a",
    "a number": 7,
    "nothing": None,
    "a list": ["a"],
}
BAD_TABLES = {
    "a NUL, which separates a table from its key": "im\0session",
    "a space": "im session",
    "a slash": "im/session",
    "a line's end": "im\n",
}
BAD_VERSIONS = {
    "zero": 0,
    "negative": -1,
    "one too many": limits.VERSION_MAX + 1,
    "a bool, though Python counts it as an int": True,
    "a float": 1.0,
    "a numeral": "1",
    "nothing": None,
}


@pytest.mark.parametrize("what", REQUIRE)
@pytest.mark.parametrize("why", BAD_TEXTS)
def test_what_is_no_text_is_refused_and_named(what: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{what} ") as caught:
        REQUIRE[what](BAD_TEXTS[why])  # type: ignore[arg-type]
    assert not isinstance(caught.value, LimitExceeded)


@pytest.mark.parametrize("what", REQUIRE)
@pytest.mark.parametrize("letter", ["a", "é", "語"])
def test_a_limit_is_inclusive_and_counts_bytes(what: str, letter: str) -> None:
    size = len(letter.encode())
    longest = letter * (BYTES_MAX[what] // size)
    longest += "a" * (BYTES_MAX[what] - len(longest.encode()))
    REQUIRE[what](longest)
    with pytest.raises(LimitExceeded, match=f"{BYTES_MAX[what] + 1} bytes"):
        REQUIRE[what](longest + "a")


@pytest.mark.parametrize("why", BAD_TABLES)
def test_a_table_holds_no_separator(why: str) -> None:
    with pytest.raises(InvalidArgument):
        require_table(BAD_TABLES[why])


@pytest.mark.parametrize("why", BAD_VERSIONS)
def test_what_is_no_version_is_refused(why: str) -> None:
    bad: Any = BAD_VERSIONS[why]
    with pytest.raises(InvalidArgument, match=r"version must be|version .* out of range"):
        require_version(bad)


@pytest.mark.parametrize("version", [1, 2, limits.VERSION_MAX])
def test_a_version_may_reach_its_limits(version: int) -> None:
    require_version(version)


def test_a_refusal_is_also_the_builtin_error_a_caller_expects() -> None:
    assert issubclass(LimitExceeded, InvalidArgument)
    assert issubclass(InvalidArgument, Rejected) and issubclass(InvalidArgument, ValueError)


@pytest.mark.parametrize("key", ["k", "cid:1", "語", "with\0NUL", "\0"])
def test_a_qualified_name_is_split_where_it_was_joined(key: str) -> None:
    require_key(key)
    assert split_name(qualified_name("im.session", key)) == ("im.session", key)


def test_names_of_different_tables_never_collide() -> None:
    assert qualified_name("im", "session.k") != qualified_name("im.session", "k")
    assert not qualified_name("im.session", "k").startswith(qualified_name("im", ""))
