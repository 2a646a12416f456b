"""The encodings: how values of `model`, `table` and `raft` become bytes, and back.

Everything is MessagePack, bounded, and never pickled. Bytes that do not decode raise
`ProtocolError` if a peer sent them and `Corrupt` if a disk held them; the caller says which.
"""
