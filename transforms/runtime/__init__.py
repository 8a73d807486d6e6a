"""Threads, processes and memory; knows no images."""
