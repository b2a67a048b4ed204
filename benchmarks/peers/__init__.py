"""What runs in the environments of the peers that this service is measured beside."""
