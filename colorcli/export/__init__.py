"""Command 4: a model as one ONNX file, checked against the network it was made from."""
