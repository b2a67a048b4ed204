"""The vector index: collections of points, stored in SQLite and searched with FAISS."""
