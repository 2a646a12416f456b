"""`python -m globaltable.bench SCENARIO`: measure, print, and write results down."""

import sys

from globaltable.bench.command import main

if __name__ == "__main__":
    sys.exit(main())
