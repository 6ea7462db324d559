"""The operators' desk: the admin API on the Unix socket, and who may read /metrics."""
