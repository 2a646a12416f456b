"""Serves GlobalTable: one region node, its disk, its peers and its gRPC API."""
