"""Many nodes and groups over several regions, through the loss of a region and its return.

The nodes are those of `tests.simulation`: production's core, driver, table worker and watches; the
callers are the client library's exchange, which learns from the nodes who holds what. `plan` is
what a seed draws, `world` runs it, `callers` and `readers` ask. Beside what `checks` demands at
every step, time is bounded: until every group is led again, until leadership is back, and until
each call is told.
"""
