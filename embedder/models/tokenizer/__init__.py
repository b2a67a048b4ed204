"""The tokenizer of a model, as its files describe it."""
