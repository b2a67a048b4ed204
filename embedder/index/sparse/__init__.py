"""Search by sparse vectors: the weights of vocabulary ids, and their dot product with a query."""
