"""TLS for clients: the certificate, and how HAProxy gets it."""
