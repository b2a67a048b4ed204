"""How alike vectors are, as pure functions of arrays."""
