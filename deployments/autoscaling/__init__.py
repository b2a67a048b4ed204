"""How many replicas each stage of the application gets: the policy, and what replicas report."""
