"""Colour science: spaces, gamut, metrics. NumPy for photographs, torch for networks, one set of formulas."""
