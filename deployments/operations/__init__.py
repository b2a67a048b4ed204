"""What an operator does with a running service or with its files."""
