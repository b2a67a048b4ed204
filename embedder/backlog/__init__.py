"""How much work waits, how fast it is done, and who is told to come back when."""
