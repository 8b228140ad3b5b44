"""What a model is, and where its weights come from: name, run folder or file -> ready model."""
