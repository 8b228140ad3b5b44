"""Tables of trainings: variants of a recipe with several seeds, measured and set against what documents claim."""
