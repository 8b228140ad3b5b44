"""One photograph: open a model, set its controls, and turn pixels into coloured pixels with their measurements."""
