"""The service on several nodes: logical nodes of one Ray, and machines in network namespaces."""
