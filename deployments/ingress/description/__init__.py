"""What the routes are, for programs and for people."""
