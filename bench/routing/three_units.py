"""The routing configuration that benches within one process begin with: a unit in each of three
regions, and no node that would be asked."""

from typing import Final

THREE_UNITS: Final = """
namespace = "bench"
endpoints = ["127.0.0.1:9"]
[units.A]
region = "a"
[units.B]
region = "b"
[units.C]
region = "c"
"""
