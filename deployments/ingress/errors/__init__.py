"""HTTP statuses and response bodies of errors."""
