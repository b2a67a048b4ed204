"""Calls between replicas, by handles."""
