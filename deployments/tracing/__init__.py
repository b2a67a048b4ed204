"""Traces of requests: what records their steps as spans, and what sends the spans."""
