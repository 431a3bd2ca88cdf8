"""Looking ahead before acting: tree search over action chunks in a copy of the simulator, and simpler ways to choose."""
