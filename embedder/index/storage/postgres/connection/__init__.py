"""Connections to the database: opening them, and what their errors mean."""
