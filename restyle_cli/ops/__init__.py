"""Tensor operations: filtering, modulated convolution, equalised layers. Each fast form has a reference, `…_plain`."""
