"""Whole nodes on simulated time, network and disk: one thread, one seed, one trace.

The code under test is production's, from the node's core down: `NodeCore` is driven as the node's
loop drives it (begin, persist, complete). Replaced are the clock (`world`), the links (`network`),
the disks (`disk`) and the callers (`clients`). What is done to the nodes is data (`schedule`), so
that a failing run can be repeated from its seed and shrunk. `checks` says what must hold.
"""
