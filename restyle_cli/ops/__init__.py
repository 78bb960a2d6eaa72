"""Tensor operations: filtering, modulated convolution, equalised layers; fast forms beside readable twins."""
