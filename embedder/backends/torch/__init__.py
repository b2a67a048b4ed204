"""The backend that computes with torch, and the forward pass over packed batches."""
