"""Measurements of speed, memory and growth, with what they need to be repeated."""
