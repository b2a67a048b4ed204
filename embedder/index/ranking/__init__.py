"""The order of hits by scores of several kinds."""
