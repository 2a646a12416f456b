"""What etcd is asked, and how its members are started."""

from globaltable.bench.systems import etcd_pb2 as pb
from globaltable.bench.systems.etcd import command, transaction


def test_a_create_is_etcds_own_encoding_of_its_transaction() -> None:
    """By the field numbers of etcd's published API, written out here by hand."""
    compare = b"\x10\x01" + b"\x1a\x01k" + b"\x28\x00"  # target CREATE, key, create_revision 0
    put = b"\x12\x06" + b"\x0a\x01k" + b"\x12\x01v"  # request_put: key, value
    get = b"\x0a\x03" + b"\x0a\x01k"  # request_range: key
    expected = b"\x0a\x07" + compare + b"\x12\x08" + put + b"\x1a\x05" + get
    assert transaction("k", "v").SerializeToString(deterministic=True) == expected


def test_fields_of_an_answer_that_are_not_known_are_skipped() -> None:
    answer = pb.TxnResponse.FromString(b"\x0a\x02\x18\x05" + b"\x10\x01" + b"\xba\x3e\x01x")
    assert answer.succeeded
    assert answer.header.revision == 5


def test_a_member_is_told_of_all_others_and_keeps_its_own_times() -> None:
    hosts = {"a": "10.0.0.1", "b": "10.0.0.2"}
    words = command("/usr/bin/etcd", "b", hosts, "/data/b")
    assert words[0] == "/usr/bin/etcd"
    assert "--initial-cluster=a=http://10.0.0.1:2380,b=http://10.0.0.2:2380" in words
    assert "--listen-client-urls=http://10.0.0.2:2379" in words
    assert "--data-dir=/data/b" in words
    assert {"--heartbeat-interval=100", "--election-timeout=1000"} <= set(words)
    assert not [word for word in words if "unsafe" in word], "each write is synced"
