"""How well methods invert many images: inverted, measured at every step, and reported."""
