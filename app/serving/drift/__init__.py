"""Are the photos of today those that the model knows? Counted for /metrics as histograms; no photo is kept."""
