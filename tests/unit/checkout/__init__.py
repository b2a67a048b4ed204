"""Tests of what the checkout has beside the packages: pages, examples, configurations, Makefile.

They read these files, and cannot run against an installed wheel.
"""
