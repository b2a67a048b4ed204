"""The vector index: collections of points, stored in a database and searched with FAISS."""
