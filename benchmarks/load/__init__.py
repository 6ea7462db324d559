"""Clients that do the work through one port and say what they saw."""
