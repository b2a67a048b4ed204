"""The ingress: HTTP, with a folder for each family of routes, and calls over a handle."""
