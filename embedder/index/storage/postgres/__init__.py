"""The stored points of a service, in PostgreSQL."""
