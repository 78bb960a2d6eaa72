"""Training data: image folders and renderers whose latent codes are known."""
