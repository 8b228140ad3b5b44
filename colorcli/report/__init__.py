"""Report pages: each is one HTML file that contains everything it shows and works offline."""
