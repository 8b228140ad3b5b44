"""Colouring many photographs: plan a run, stream photographs through it, journal it, resume it."""
