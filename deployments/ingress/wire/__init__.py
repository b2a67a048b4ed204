"""Reading inputs and options and writing vectors, for the routes of all families."""
