"""One photograph: open a model, say what steers it, and go from pixels to coloured pixels with their measurements."""
