"""Routing where requests come in and go out: gRPC, ASGI, plain functions.

Each maps a unit's decision to what its world expects; `admission` is what they share.
"""
