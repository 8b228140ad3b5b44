"""Running a network: PyTorch or ONNX Runtime behind one protocol."""
