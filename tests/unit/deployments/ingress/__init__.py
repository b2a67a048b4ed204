"""Tests of the HTTP application, over stages in this process."""
