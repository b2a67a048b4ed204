"""What computes a model: one protocol (base), one module a library."""
