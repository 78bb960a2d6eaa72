"""Heatmaps: where each step of an inversion changed the image, and which layers of the latent it moved."""
