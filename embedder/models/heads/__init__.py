"""What the files of a model say about each kind of its results."""
