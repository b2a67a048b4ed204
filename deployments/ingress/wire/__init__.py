"""How inputs, options and vectors are read and written, whichever route they belong to."""
