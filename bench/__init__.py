"""Measurements, run by hand: `python -m bench.<name>`. README.md beside this file keeps what they showed."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()
