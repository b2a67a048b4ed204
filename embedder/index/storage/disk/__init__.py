"""Files and folders on the disk of a node: locks, and files that are complete or absent."""
