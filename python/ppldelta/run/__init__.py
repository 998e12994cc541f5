"""The main job: from documents and models to token records."""
