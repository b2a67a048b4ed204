"""The one thread of a store that writes, its connection, and what it does between writes."""
