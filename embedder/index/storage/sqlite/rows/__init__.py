"""The tables of the indexes of texts and of sparse vectors."""
