"""What a trained model is worth: fusion of predictions, frozen features, probes on them."""
