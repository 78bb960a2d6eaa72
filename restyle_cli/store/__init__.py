"""Models: the catalog, downloads, files, and conversion from other projects."""
