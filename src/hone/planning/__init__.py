"""Looking ahead before acting: tree search over action chunks in copies of the simulator, and simpler choices."""
