"""Hours under load and faults, in which what a node holds must not grow.

`standing_load` keeps a table of fixed size busy, while windows of recorded clients are judged one
after the other (`tests.faults`) under faults; `samples` looks at memory, descriptors and disk, each
minute; `flatness` says whether they stayed what they were, and `picture` draws them.
"""
