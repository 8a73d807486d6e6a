"""Painting new faces: generators, the crops that they are shown, and what is pasted back."""
