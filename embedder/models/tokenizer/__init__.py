"""How a model prepares a text: its tokenizer, its token limit, its token types."""
