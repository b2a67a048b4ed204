"""The middleware of every HTTP request: keys, bodies, compression, counters."""
