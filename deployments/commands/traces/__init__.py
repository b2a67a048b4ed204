"""``embedder traces``: receives traces on this machine and prints them."""
