"""The backend that computes dense vectors with OpenVINO on a CPU."""
