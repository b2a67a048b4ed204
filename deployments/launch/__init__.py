"""How the service is started on this machine."""
