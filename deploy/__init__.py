"""The image of the service and its manifests, and the programs that write and check them."""
