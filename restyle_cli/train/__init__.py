"""Drawing the data, and training generators and encoders on it."""
