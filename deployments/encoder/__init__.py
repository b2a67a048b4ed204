"""The Encoder deployment, and an encoder in the process of its caller."""
