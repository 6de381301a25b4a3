"""How good a model is on labelled photos: accuracy, calibration, suspected faults of the labels, and two models compared."""
