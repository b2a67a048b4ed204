"""Files and databases that each version of the stored formats has written, and must open for ever.

``python -m tests.unit.index.formats.writing`` writes those of the present version.
"""
