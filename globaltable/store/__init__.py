"""What a node keeps on disk: the log (`log/`, every commit synced) and the table (`table/`).

`log` and `table` say what is stored, as plain values and protocols; `lmdb_log` and `lmdb_table`
store it in LMDB. The simulator has its own stores behind the same protocols.
"""
