"""The metrics of a node, for Prometheus: what there are (`declared`), and where they come from."""
