"""From a request to the function that answers it."""
