"""Dashboards, rules and provisioning for Grafana and Prometheus; begin with `build.py`."""
