"""Lexical search: the terms of a text, and the BM25 scores of texts that contain them."""
