"""The searchable vectors of a collection, in FAISS indexes."""
