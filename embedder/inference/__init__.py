"""Models made ready to tokenize and encode in this process."""
