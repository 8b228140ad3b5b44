"""Models and their weights: from a name, run folder or file to a network that is ready to run."""
