"""The main job from end to end on one machine: what `globaltable demo` runs and prints.

`ledger` remembers what every caller was told, `race` lets all regions bind the same sessions,
`outage` kills a node in the middle of it, `run` puts them in order, `report` prints the figures.
"""
