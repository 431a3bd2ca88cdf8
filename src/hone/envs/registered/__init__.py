"""Environments that others registered with gymnasium, used through a declaration of what their numbers mean."""
