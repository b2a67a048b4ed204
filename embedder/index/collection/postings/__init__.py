"""Searches of one collection through postings: by words, and by sparse vectors."""
