"""Tensor operations: filtering, modulated convolution, equalized layers. Each fast form has a reference, `…_plain`."""
