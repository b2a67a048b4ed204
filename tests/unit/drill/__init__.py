"""The client and the figures of the drill."""
