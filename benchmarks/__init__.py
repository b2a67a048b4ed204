"""Measurements of the library and the service, run by hand from a checkout."""
