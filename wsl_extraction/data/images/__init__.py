"""Images in files: decoding, cropping and indexing."""
