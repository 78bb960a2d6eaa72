"""Many images through a chain of methods: found, prepared, inverted, written."""
