"""Instant messaging in three units: each chat lives in one of them, and may be moved.

Read `storage` (one unit's messages), `service` (what a unit serves), `unit` (its process), `client`
(a user's end), and then `demo`, which runs them all and has `checking` look at every message.
"""
