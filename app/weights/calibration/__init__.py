"""What int8 takes beside the weights: photos, and the proof that it answers as float32 does."""
