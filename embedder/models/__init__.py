"""Which models there are (catalogue), where their weights come from, what their files say."""
