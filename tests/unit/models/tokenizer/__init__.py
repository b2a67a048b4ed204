"""Tests of the sources and the files of models."""
