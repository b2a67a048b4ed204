"""The encoded form of inputs, which caches store, and the state of a request for it."""
