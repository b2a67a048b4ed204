"""The settings of the service: ``args:`` and ``user_config:`` of a Serve configuration."""
