"""The backend that computes with torch: packed forward passes on a CPU or a GPU."""
