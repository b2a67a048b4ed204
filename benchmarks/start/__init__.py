"""How long the service takes to start, beside a bare Ray Serve and the imports of its libraries."""
