"""What continuing a run needs: its checkpoint, its folder, its settings, its schedule."""
