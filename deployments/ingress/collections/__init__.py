"""Collections: filled and searched by text or by vector."""
