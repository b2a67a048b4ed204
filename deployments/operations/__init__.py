"""The operations behind the operator's commands, on a running service or on its files."""
