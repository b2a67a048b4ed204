"""OpenAI's API: embeddings, and the models that are served."""
