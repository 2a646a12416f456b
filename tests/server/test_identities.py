"""A certificate says whose it is in one way only, and what says it otherwise is nobody's."""

import pytest

from globaltable.server.identities import Identity, Kind, Unidentified, identity_in, parse, uris_of

WEB = Identity("im", Kind.CLIENT, "web")


@pytest.mark.parametrize(
    ("identity", "uri"),
    [
        (WEB, "globaltable://im/client/web"),
        (Identity("im", Kind.NODE, "beijing-1"), "globaltable://im/node/beijing-1"),
        (Identity("im", Kind.NODE, "北京"), "globaltable://im/node/%E5%8C%97%E4%BA%AC"),
    ],
)
def test_an_identity_and_its_uri_are_one(identity: Identity, uri: str) -> None:
    assert identity.uri == uri
    assert parse(uri) == identity


@pytest.mark.parametrize(
    "uri",
    [
        "globaltable://im/client",
        "globaltable://im/client/web/admin",
        "globaltable://im/operator/web",
        "globaltable://im/address/127.0.0.1",
        "globaltable://im/client/",
        "globaltable:///client/web",
        "globaltable://im/client/*",
        "globaltable://im/client/we%2Fb",
        "globaltable://im/client/%ff",
        "globaltable://im/client/" + "w" * 2_000,
    ],
)
def test_what_is_no_name_of_the_configuration_is_nobody(uri: str) -> None:
    """A `*` above all, which in the configuration stands for everybody."""
    with pytest.raises(Unidentified):
        parse(uri)


@pytest.mark.parametrize(
    ("uris", "why"),
    [
        ([], "has 0 URIs"),
        (["https://im/client/web", "spiffe://im/client/web"], "has 0 URIs"),
        ([WEB.uri, "globaltable://im/client/admin"], "has 2 URIs"),
        ([WEB.uri, WEB.uri], "has 2 URIs"),
        (["globaltable://other/client/web"], "is of cluster 'other', not 'im'"),
    ],
)
def test_nobody_is_known_by_none_by_two_or_by_another_clusters(uris: list[str], why: str) -> None:
    with pytest.raises(Unidentified, match=why):
        identity_in(uris, "im")


def test_other_uris_beside_it_say_nothing() -> None:
    assert identity_in(["https://example.org", WEB.uri], "im") == WEB


def test_only_uris_count_not_host_names_that_look_like_them() -> None:
    names = (("DNS", WEB.uri), ("email", WEB.uri), ("URI", "globaltable://im/node/a"))
    assert uris_of({"subjectAltName": names}) == ["globaltable://im/node/a"]
    assert uris_of({}) == []
