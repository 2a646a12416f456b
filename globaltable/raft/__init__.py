"""Consensus for one group: PySyncObj as a core that is stepped, and the rules it leaves out.

`adaptor` alone knows PySyncObj's private names, and `dialect` its messages. `guard` stands at the
message boundary, and hands what passes it to whom it concerns: `elections` (who may lead),
`replication` (as a leader: what followers are sent), `follower` (what a leader's appends do here),
`snapshots` (in place of a log that is no longer kept), `recovery` (how a replica that lost what it
had persisted takes part again). What can be decided without side effects is
apart: `quorum`, `reconcile`, `progress`, `transfer`. `journal` is the log in memory, which notes
what must be made durable; `messages` are the values that replicas of a group send to each other.

The parts do not know the guard; each is given the adaptor, the journal and a way to send.
"""
