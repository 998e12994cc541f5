"""Texts in: files become documents, documents' tokens become windows. Knows neither models nor numbers."""
