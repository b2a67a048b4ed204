"""What outlives the process of a cache: a store, and what keeps it as memory is."""
