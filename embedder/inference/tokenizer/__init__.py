"""The parts of tokenization: special tokens, windows of long texts, pairs."""
