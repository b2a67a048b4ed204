"""Dynamic batching: which queued items form the next batch, and the loop that runs batches."""
