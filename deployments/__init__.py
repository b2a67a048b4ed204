"""The service: the library's stages as Ray Serve deployments of one application graph."""
