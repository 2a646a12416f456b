"""What routing costs: `python -m globaltable.bench.routing`, a command for each module here."""
