"""What an operator asks of a whole cluster: put together from what its nodes are asked one by one.

`nodes` asks them; `backup`, `restore` and `check` are about a cluster that serves; `salvage` is
about what is left of one that cannot, on its disks. `cli` shows it.
"""
