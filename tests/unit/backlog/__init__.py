"""Admission by predicted wait: its parts, its rules, and what comes of them under load."""
