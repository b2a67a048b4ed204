"""Snapshots in an object store, so that a shard starts quickly on a node that has none."""
