"""The stores of the index beside each other, bare FAISS and pgvector."""
