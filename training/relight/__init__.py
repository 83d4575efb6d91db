"""Relighting: a portrait, a driving video and a light in, a video out."""
