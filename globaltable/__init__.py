"""GlobalTable keeps each session in exactly one unit, across regions.

`globaltable.client` asks a cluster, `globaltable.server` serves one, `globaltable.bench` measures
it, and `globaltable.testing` starts a real one on this machine for tests.
"""

from importlib.metadata import version

__version__ = version("globaltable")
