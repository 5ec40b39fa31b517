"""Methods that store and compute with fewer bits."""
