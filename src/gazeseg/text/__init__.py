"""Descriptions of images (``describe``) and their token embeddings (``encode``); training never loads this package."""
