"""The HTTP door, over stages in this process."""
