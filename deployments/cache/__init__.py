"""The EmbeddingCache deployment."""
