"""What is measured: one module for each scenario, which yields measurements as they are made.

`scenario` says what they have in common, `registry` names them.
"""
