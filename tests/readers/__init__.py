"""Outputs read back by the libraries that users read them with, in an environment of their own."""
