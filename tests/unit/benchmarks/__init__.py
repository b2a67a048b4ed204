"""Tests of what the benchmarks compute, without the data or the servers they measure."""
