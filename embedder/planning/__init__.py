"""Settings that fit a machine and a goal: measure the machine, predict candidates, decide."""
