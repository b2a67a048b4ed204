"""The steps of a request, from input checks and admission control to its vectors."""
