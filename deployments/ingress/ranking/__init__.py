"""Orders texts by a query, for the routes of several APIs."""
