"""How good an inversion is, in numbers."""
