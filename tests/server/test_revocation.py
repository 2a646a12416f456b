"""Promise: whom the file of revocations names is believed no more, as soon as the file says so; and
a file that cannot be read lets nobody in again."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from globaltable.errors import ConfigError
from globaltable.server.identities import Certificate, Identity, Kind
from globaltable.server.revocation import LINES_MAX, Revocations, Revoked, parse_revoked

WEB = Identity("im", Kind.CLIENT, "web")
SHOWN = Certificate(WEB, 0xAB12, 1e12)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", ""),
        ("# nobody yet\n\n", ""),
        ("serial=AB12", "the certificate AB12 of client web was revoked"),
        ("  serial=00ab12  # lost\n", "the certificate AB12 of client web was revoked"),
        ("serial=AB:12", "the certificate AB12 of client web was revoked"),
        ("serial=AB13", ""),
        ("globaltable://im/client/web", "all certificates of client web were revoked"),
        ("globaltable://im/client/we%62 # so too", "all certificates of client web were revoked"),
        ("globaltable://im/client/app\nglobaltable://im/node/web", ""),
        ("globaltable://other/client/web", ""),
    ],
)
def test_a_line_shuts_out_one_certificate_or_all_of_a_name(text: str, why: str) -> None:
    assert parse_revoked(text, "revoked.txt").why(SHOWN) == why


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("web", "line 1: 'web' is neither"),
        ("\nserial=", "line 2: 'serial=' is neither"),
        ("serial=xyz", "is neither"),
        ("serial=-1", "is neither"),
        ("serial=0xAB12", "is neither"),
        ("serial=A_B", "is neither"),
        ("serial=" + "A" * 65, "is neither"),
        ("globaltable://im/operator/web", "is neither"),
        ("serial=1\n" * (LINES_MAX + 1), "has 65537 lines"),
    ],
)
def test_what_says_neither_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_revoked(text, "revoked.txt")


def test_the_file_is_read_again_when_it_has_changed_and_not_when_it_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "revoked.txt"
    with pytest.raises(ConfigError, match=r"revoked.txt cannot be read: No such file"):
        Revocations(path)
    path.write_text("")
    revocations = Revocations(path)
    assert revocations.newest() == revocations.present == Revoked()
    path.write_text("serial=AB12\n")
    assert revocations.present == Revoked(), "nobody has looked"
    assert revocations.newest().why(SHOWN) and revocations.present.why(SHOWN)
    with capture_logs() as logs:
        for spoil in (
            lambda: path.write_text("serial=AB12\nwhat?\n"),
            lambda: path.write_bytes(b"\xff\xfe"),
            path.unlink,
        ):
            spoil()
            for _ in range(3):
                assert revocations.newest().why(SHOWN), "the earlier stays"
    complaints = [entry for entry in logs if "the earlier stay" in entry["event"]]
    assert len(complaints) == 3, "one for each"
    path.write_text("# back again, and forgiven\n")
    assert not revocations.newest().why(SHOWN)


def test_without_a_file_nobody_is_revoked() -> None:
    assert Revocations(None).newest() == Revoked()
