"""The backend that computes an ONNX graph with ONNX Runtime, and the graphs it computes."""
