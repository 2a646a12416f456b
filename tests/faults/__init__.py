"""What clients are told while nodes fail, against what is promised.

`workload` has clients ask a real cluster and `recorder` notes what they were told: a `history`.
`judge` decides whether the history keeps what is promised, by `linearizability`, `local_reads` and
`versions`. A history that fails is kept in a file, and `python -m tests.faults.judge FILE` judges
it again.
"""
