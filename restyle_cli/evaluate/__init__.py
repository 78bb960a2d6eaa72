"""How well methods do on many pictures: inverted, measured at every step, kept line by line on disk."""
