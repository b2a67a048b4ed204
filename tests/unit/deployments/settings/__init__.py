"""Tests of the settings of the service."""
