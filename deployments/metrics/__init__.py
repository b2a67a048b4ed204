"""Every metric of the service: the definitions by subject, and their publication through Ray."""
