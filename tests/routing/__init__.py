"""Routing: headers, keys, caches, hot spots."""
