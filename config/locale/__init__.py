"""The admin's texts in other languages, and what keeps them whole (catalogue.py)."""
