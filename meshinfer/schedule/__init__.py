"""What a peer believes and what it does next: stimuli in, effects out. No clock, no randomness, no input or output."""
