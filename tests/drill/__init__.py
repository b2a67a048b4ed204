"""A real service that loses its parts, one after the other, under load with an external oracle."""
