"""Cells: one method on one clip under one light, from the film that it makes to its features."""
