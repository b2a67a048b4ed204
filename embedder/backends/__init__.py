"""The computation of a model: the `Backend` protocol, and one package per library."""
