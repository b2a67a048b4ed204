"""The API of Cohere: embeddings and rankings."""
