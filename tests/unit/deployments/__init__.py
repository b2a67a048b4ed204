"""Unit tests of the service, without a running Ray."""
