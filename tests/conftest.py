"""Options of the test run."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-transcripts",
        action="store_true",
        help="rewrite tests/interaction/*.txt with what the replicas do now; review the change",
    )
