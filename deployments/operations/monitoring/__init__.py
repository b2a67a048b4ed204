"""Prometheus beside a service, the Grafana dashboard, and the check that both show data."""
