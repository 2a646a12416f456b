"""Event loops for targets that need one. They live until the process ends."""

import asyncio
import atexit


def new_runner() -> asyncio.Runner:
    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner
