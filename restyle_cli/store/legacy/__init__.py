"""Files that other projects wrote: peel their wrappers, detect what they hold, rename, build, load strictly."""
