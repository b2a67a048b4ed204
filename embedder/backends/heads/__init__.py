"""What follows the last hidden states: a head for each kind of result."""
