"""One file per system: its architecture and its colour adapter. Importing this package does not import torch."""
