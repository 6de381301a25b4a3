"""The tests of the paper, which average many views of a photo: what they cost, and who does them."""
