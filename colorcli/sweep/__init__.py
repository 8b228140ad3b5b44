"""Tables of trainings: variants of a recipe with several seeds, evaluated and compared with the papers' claims."""
