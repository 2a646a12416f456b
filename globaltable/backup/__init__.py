"""The format of a backup file: what it holds, and that nothing of it is missing or changed.

`records` are its bytes; `contents` what rows a file may hold; `writing` and `reading` put the two
together, over functions that write and read. Who fetches the rows, and who puts them anywhere, is
`globaltable.admin`.
"""
