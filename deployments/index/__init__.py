"""The VectorIndex deployment, and the clients that call its shards."""
