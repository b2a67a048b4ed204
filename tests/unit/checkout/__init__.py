"""Tests of files that only the checkout contains: pages, examples, configurations, the Makefile.

They read these files, so they cannot run against an installed wheel.
"""
