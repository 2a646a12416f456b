"""Consensus for one group: PySyncObj as a core that is stepped, and the rules it leaves out.

`adaptor` alone knows PySyncObj's private names. `guard` stands at the message boundary and holds
the rules of Raft that the library omits; `reconcile` and `quorum` are its pure parts. `journal` is
the log in memory, which notes what must be made durable. `messages` are the values that replicas
of a group send to each other.
"""
