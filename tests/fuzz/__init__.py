"""A stateful fuzzer of the real service over HTTP."""
