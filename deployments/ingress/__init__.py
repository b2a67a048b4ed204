"""The HTTP door: one module an API family, one table from errors to statuses."""
