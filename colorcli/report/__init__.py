"""Pages that are looked at: one HTML file each, which holds all it shows and needs no network."""
