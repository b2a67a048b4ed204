"""The settings of the library, their presets and their sources."""
