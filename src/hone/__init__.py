"""Hone: makes a vision-language-action robot policy better by itself, and proves the gain."""

__version__ = "0.1.0"
