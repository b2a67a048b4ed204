"""The stored points of a shard: what the index needs from a database, and its stores."""
