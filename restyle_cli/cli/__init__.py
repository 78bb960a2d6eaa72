"""The `restyle` command: checks options, calls the package, prints. It computes nothing."""
