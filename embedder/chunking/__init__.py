"""Split long texts into chunks of a limited number of tokens, each with its range of characters."""
