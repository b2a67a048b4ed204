"""The service on Kubernetes: manifests, and the program that writes and checks them."""
