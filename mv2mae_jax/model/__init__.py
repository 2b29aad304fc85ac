"""The networks: positions, masks, layers, encoder, decoders, and the two models made of them."""
