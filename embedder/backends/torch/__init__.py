"""The backend that computes with torch: packed and padded forward passes on a CPU or a GPU."""
