"""Frames and words → vectors. The only room that knows torch, transformers and the model hub."""
