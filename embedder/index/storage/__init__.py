"""The stored points of a shard, in SQLite."""
