"""The application graph in one process, by Serve's local testing mode."""
