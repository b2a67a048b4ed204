"""The Tokenizer deployment, and a tokenizer in the process of its caller."""
