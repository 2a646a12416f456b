"""Routing on top of GlobalTable: every message finds its session's unit, mostly without asking.

Built on the public client API alone (`globaltable.client`).
"""
