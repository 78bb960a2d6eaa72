"""Where each step of an inversion changed the picture, and which layers of the code it moved."""
