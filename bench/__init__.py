"""What it costs: measurements against real nodes. Each module is a command of its own.

`python -m globaltable.bench.commit_latency` measures binds from every region, one op outstanding
and under load.
"""
