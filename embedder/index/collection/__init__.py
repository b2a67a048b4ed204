"""One collection of a shard while it is served: searches, reads and maintenance."""
