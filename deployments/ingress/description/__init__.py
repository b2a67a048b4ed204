"""The description of the routes: OpenAPI, its page, and the tables of docs/."""
