"""What a worker process does with its client between "go" and the end: one module for each kind.

`activity` says what they have in common, `registry` names them.
"""
