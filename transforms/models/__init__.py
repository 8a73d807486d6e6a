"""SavedModels: what identifies one, and building those that come with the package. Knows no images."""
