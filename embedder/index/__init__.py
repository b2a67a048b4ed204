"""Collections of vectors that are searched: what is stored, and FAISS as its projection."""
