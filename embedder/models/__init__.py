"""The catalogue of models, the sources of their weights, and the content of their files."""
