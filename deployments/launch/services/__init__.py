"""The services of this machine: which run, how a command chooses one, and the state of each."""
