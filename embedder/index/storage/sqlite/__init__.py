"""The store in SQLite: one file for each shard, with one owner, one writer and several readers."""
