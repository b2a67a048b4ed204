"""Results of several kinds in one request."""
