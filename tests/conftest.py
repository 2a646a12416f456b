"""Options of the test run."""

import pytest
from hypothesis import settings

# How long an example takes is the machine's business, and pytest-timeout's if it is for ever.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-transcripts",
        action="store_true",
        help="rewrite tests/interaction/*.txt with what the replicas do now; review the change",
    )
