"""Bad bytes: every decoder is given a million inputs that no correct sender makes.

A decoder may accept or raise one of the errors that its caller expects; it may not crash, hang, or
allocate out of proportion. `targets` says which decoders there are, `mutations` makes the inputs,
`running` judges; `python -m tests.fuzz --inputs 1000000 --jobs 2` does it all.
"""
