"""Object stores, one module each; only storage.py uses them. Know no images."""
